-- 090_quick_win_4_missing_indexes, written by pg-index-exporter 0.1.0 (plan --sql)
--
-- Run it as the tables' owner on the primary, outside any transaction:
--
--   psql -X -d DATABASE -f THIS_FILE
--
-- It builds missing indexes with CREATE INDEX CONCURRENTLY, one at a time. It can be rerun: an index
-- that is present as declared is kept. It stops at an INVALID index of a declared name, or one with
-- another definition, and does not change it. It does not build on partitioned tables: only
-- `pg-index-exporter init` builds on their partitions. To follow it from another session:
--
--   SELECT phase, blocks_done, blocks_total FROM pg_stat_progress_create_index;
--   SELECT index_name, phase, status FROM migration_log;
--
-- An interrupted build leaves an INVALID index: drop it with DROP INDEX CONCURRENTLY and rerun this,
-- or run `pg-index-exporter init`, which cleans up and finishes.

\set ON_ERROR_STOP on
\set QUIET on
\encoding UTF8
SET search_path = pg_catalog;
-- Definitions are compared as text: nothing of the role's or database's own settings may change them. A
-- lock_timeout would cancel a build at its last wait and protect no session; statement_timeout ends an orphan.
SELECT pg_catalog.count(pg_catalog.set_config(s.name, v.value, false)) AS pgix_settings
FROM (
    VALUES
        ('search_path', 'pg_catalog, pg_temp'),
        ('default_transaction_isolation', 'read committed'),
        ('idle_in_transaction_session_timeout', '0'),
        ('DateStyle', 'ISO, MDY'),
        ('IntervalStyle', 'postgres'),
        ('TimeZone', 'UTC'),
        ('extra_float_digits', '1'),
        ('bytea_output', 'hex'),
        ('quote_all_identifiers', 'off'),
        ('standard_conforming_strings', 'on'),
        ('default_transaction_read_only', 'off'),
        ('lock_timeout', '0'),
        ('statement_timeout', '24h'),
        ('transaction_timeout', '0')
) AS v (name, value)
JOIN pg_catalog.pg_settings AS s ON pg_catalog.lower(s.name) = pg_catalog.lower(v.name) \gset

SELECT
    pg_catalog.count(*) = 0 AS pgix_journal_missing
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relname IN ('migration_events', 'migration_log') \gset
\if :pgix_journal_missing
BEGIN;
-- Creates the journal: migration_events (append-only) and migration_log (the latest event of each index).
-- changes: one table, one view, two grants in the journal's schema; run in one transaction
-- privileges: CREATE on the schema; lock: none on existing tables
CREATE TABLE "public".migration_events (
    id pg_catalog.int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run pg_catalog.text NOT NULL,
    name pg_catalog.text NOT NULL,
    index_name pg_catalog.text,
    phase pg_catalog.text NOT NULL,
    status pg_catalog.text NOT NULL,
    attempt pg_catalog.int4 NOT NULL DEFAULT 1,
    definition pg_catalog.text,
    detail pg_catalog.jsonb NOT NULL DEFAULT '{}',
    operator pg_catalog.text NOT NULL DEFAULT CURRENT_USER,
    at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE "public".migration_events IS
    'pg-index-exporter: every step of every index migration, append-only';
CREATE VIEW "public".migration_log AS
SELECT DISTINCT ON (name, index_name)
    name, index_name, phase, status, attempt, run, definition, detail, operator, at
FROM "public".migration_events
ORDER BY name, index_name, id DESC;
COMMENT ON VIEW "public".migration_log IS
    'pg-index-exporter: the state of each index of each migration; a row without index_name is the migration as a whole';
GRANT SELECT ON "public".migration_events, "public".migration_log TO pg_monitor;
COMMIT;
\endif
SELECT pg_catalog.substr(pg_catalog.md5(pg_catalog.concat(pg_catalog.random(), pg_catalog.clock_timestamp())), 1, 8)
    AS pgix_run \gset

\echo 'public.idx_messages_sender_created on public.messages'

-- A script cannot list partitions that are not there yet.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relname = 'messages' AND c.relkind = 'p'
) AS pgix_partitioned \gset
\if :pgix_partitioned
\warn '  stopped: a partitioned table, on which this script cannot build'
DO $sql1$BEGIN RAISE EXCEPTION USING MESSAGE = $sql$public.idx_messages_sender_created is not built: public.messages is partitioned$sql$, HINT = $sql$pg-index-exporter init builds it partition by partition.$sql$; END$sql1$;
\endif

-- The declaration as the server understands it: compiled on an empty clone that is rolled back.
BEGIN;
CREATE TEMPORARY TABLE "messages" (LIKE "public"."messages" INCLUDING GENERATED) ON COMMIT DROP;
DO $sql1$BEGIN EXECUTE $sql$CREATE INDEX "idx_messages_sender_created" ON "pg_temp"."messages" USING "btree" (sender_id, created_at DESC) WHERE deleted_at IS NULL$sql$; END$sql1$;
SELECT
    pg_catalog.concat(
        'CREATE ', CASE WHEN d.indisunique THEN 'UNIQUE ' END,
        'INDEX ', pg_catalog.quote_ident(d.indexname), ' ON ',
        pg_catalog.quote_ident('public'), '.', pg_catalog.quote_ident(d.relname), ' ', d.nature
    ) AS definition,
    d.indisunique,
    d.nature
FROM (
    SELECT
        c.relname AS indexname,
        t.relname,
        i.indisunique,
        pg_catalog.substr(
            pg_catalog.pg_get_indexdef(i.indexrelid),
            pg_catalog.length(pg_catalog.concat(
                'CREATE ', CASE WHEN i.indisunique THEN 'UNIQUE ' END,
                'INDEX ', pg_catalog.quote_ident(c.relname), ' ON ',
                CASE
                    WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 150000
                        THEN pg_catalog.quote_ident(n.nspname)
                    ELSE 'pg_temp'
                END,
                '.', pg_catalog.quote_ident(t.relname), ' '
            )) + CASE WHEN t.relkind = 'p' THEN 6 ELSE 1 END
        ) AS nature
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
    WHERE t.relnamespace = pg_catalog.pg_my_temp_schema() AND t.relname = 'messages'
) AS d \gset pgix_
ROLLBACK;

-- This tool's lock of the table, held until the session ends: one run at a time builds on it.
SELECT pg_catalog.pg_try_advisory_lock(
    1885825400::pg_catalog.int4, $sql$public.messages$sql$::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int4
) AS pgix_locked \gset
\if :pgix_locked
\else
\warn '  stopped: another run works on the table'
DO $sql1$BEGIN RAISE EXCEPTION USING MESSAGE = $sql$public.idx_messages_sender_created is not built$sql$, HINT = $sql$Wait until the other run ends, then rerun this.$sql$; END$sql1$;
\endif

-- Its state by the catalogue: by definition, never by name alone.
SELECT
    NOT named AND NOT covered AS pgix_absent,
    named AND equal AND usable OR NOT named AND covered AS pgix_settled,
    CASE
        WHEN NOT named THEN 'it is covered by an equal index under another name'
        WHEN NOT equal THEN 'another relation or another definition has its name'
        WHEN NOT usable THEN 'it is INVALID: being built now, or left by a build that failed'
        ELSE 'it is there as declared'
    END AS pgix_found
FROM (
    SELECT
        EXISTS (
            SELECT FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = 'public' AND c.relname = 'idx_messages_sender_created'
        ) AS named,
        COALESCE(pg_catalog.bool_or(s.indexname = 'idx_messages_sender_created' AND s.in_place), false) AS equal,
        COALESCE(pg_catalog.bool_or(s.indexname = 'idx_messages_sender_created' AND s.usable), false) AS usable,
        COALESCE(pg_catalog.bool_or(s.indexname <> 'idx_messages_sender_created' AND s.usable), false) AS covered
    FROM (
        SELECT
            t.indexname,
            true AS in_place,
            t.indisvalid AND t.indisready AND t.indislive AS usable
        FROM (
SELECT
    i.indexrelid::pg_catalog.int8 AS indexrelid,
    c.relname::pg_catalog.text AS indexname,
    i.indisvalid,
    i.indisready,
    i.indislive,
    i.indisunique,
    pg_catalog.pg_get_indexdef(i.indexrelid) AS definition,
    pg_catalog.substr(
        pg_catalog.pg_get_indexdef(i.indexrelid),
        pg_catalog.length(pg_catalog.concat(
            'CREATE ', CASE WHEN i.indisunique THEN 'UNIQUE ' END,
            'INDEX ', pg_catalog.quote_ident(c.relname),
            ' ON ', CASE WHEN t.relkind = 'p' THEN 'ONLY ' END,
            pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(t.relname), ' '
        )) + 1
    ) AS nature,
    s.spcname::pg_catalog.text AS tablespace
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
LEFT JOIN pg_catalog.pg_tablespace AS s
    ON s.oid = CASE WHEN c.reltablespace = 0 THEN d.dattablespace ELSE c.reltablespace END
WHERE i.indrelid = $sql$public.messages$sql$::pg_catalog.regclass::pg_catalog.oid
ORDER BY c.relname
        ) AS t
        WHERE t.nature = :'pgix_nature' AND t.indisunique = :'pgix_indisunique'
    ) AS s
) AS f \gset
\if :pgix_settled
\echo '  nothing to do:' :pgix_found
\elif :pgix_absent
-- The intent comes before the statement: whatever happens next, the index is known as this migration's.
INSERT INTO "public"."migration_events" (run, name, index_name, phase, status, definition)
VALUES (:'pgix_run', '090_quick_win_4_missing_indexes', 'idx_messages_sender_created', 'building', 'in_progress', :'pgix_definition');
\echo '  building; reads and writes continue'
SELECT $sql$CREATE INDEX CONCURRENTLY "idx_messages_sender_created" ON "public"."messages" USING "btree" (sender_id, created_at DESC) WHERE deleted_at IS NULL$sql$ \gexec
DO $sql1$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = $sql$public.idx_messages_sender_created$sql$::pg_catalog.regclass AND indisvalid AND indisready AND indislive) THEN RAISE EXCEPTION USING MESSAGE = $sql$public.idx_messages_sender_created is not valid after its build$sql$; END IF; END$sql1$;
INSERT INTO "public"."migration_events" (run, name, index_name, phase, status, definition)
VALUES (:'pgix_run', '090_quick_win_4_missing_indexes', 'idx_messages_sender_created', 'catalog_ok', 'done', :'pgix_definition');
\echo '  built'
\else
\warn '  stopped:' :pgix_found
DO $sql1$BEGIN RAISE EXCEPTION USING MESSAGE = $sql$public.idx_messages_sender_created is not built$sql$, HINT = $sql$If it is INVALID and not being built: DROP INDEX CONCURRENTLY "public"."idx_messages_sender_created"; if its definition differs: rename one of the two.$sql$; END$sql1$;
\endif

\echo 'public.idx_posts_user_created on public.posts'

-- A script cannot list partitions that are not there yet.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relname = 'posts' AND c.relkind = 'p'
) AS pgix_partitioned \gset
\if :pgix_partitioned
\warn '  stopped: a partitioned table, on which this script cannot build'
DO $sql1$BEGIN RAISE EXCEPTION USING MESSAGE = $sql$public.idx_posts_user_created is not built: public.posts is partitioned$sql$, HINT = $sql$pg-index-exporter init builds it partition by partition.$sql$; END$sql1$;
\endif

-- The declaration as the server understands it: compiled on an empty clone that is rolled back.
BEGIN;
CREATE TEMPORARY TABLE "posts" (LIKE "public"."posts" INCLUDING GENERATED) ON COMMIT DROP;
DO $sql1$BEGIN EXECUTE $sql$CREATE INDEX "idx_posts_user_created" ON "pg_temp"."posts" USING "btree" (user_id, created_at DESC) WHERE deleted_at IS NULL$sql$; END$sql1$;
SELECT
    pg_catalog.concat(
        'CREATE ', CASE WHEN d.indisunique THEN 'UNIQUE ' END,
        'INDEX ', pg_catalog.quote_ident(d.indexname), ' ON ',
        pg_catalog.quote_ident('public'), '.', pg_catalog.quote_ident(d.relname), ' ', d.nature
    ) AS definition,
    d.indisunique,
    d.nature
FROM (
    SELECT
        c.relname AS indexname,
        t.relname,
        i.indisunique,
        pg_catalog.substr(
            pg_catalog.pg_get_indexdef(i.indexrelid),
            pg_catalog.length(pg_catalog.concat(
                'CREATE ', CASE WHEN i.indisunique THEN 'UNIQUE ' END,
                'INDEX ', pg_catalog.quote_ident(c.relname), ' ON ',
                CASE
                    WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 150000
                        THEN pg_catalog.quote_ident(n.nspname)
                    ELSE 'pg_temp'
                END,
                '.', pg_catalog.quote_ident(t.relname), ' '
            )) + CASE WHEN t.relkind = 'p' THEN 6 ELSE 1 END
        ) AS nature
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
    WHERE t.relnamespace = pg_catalog.pg_my_temp_schema() AND t.relname = 'posts'
) AS d \gset pgix_
ROLLBACK;

-- This tool's lock of the table, held until the session ends: one run at a time builds on it.
SELECT pg_catalog.pg_try_advisory_lock(
    1885825400::pg_catalog.int4, $sql$public.posts$sql$::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int4
) AS pgix_locked \gset
\if :pgix_locked
\else
\warn '  stopped: another run works on the table'
DO $sql1$BEGIN RAISE EXCEPTION USING MESSAGE = $sql$public.idx_posts_user_created is not built$sql$, HINT = $sql$Wait until the other run ends, then rerun this.$sql$; END$sql1$;
\endif

-- Its state by the catalogue: by definition, never by name alone.
SELECT
    NOT named AND NOT covered AS pgix_absent,
    named AND equal AND usable OR NOT named AND covered AS pgix_settled,
    CASE
        WHEN NOT named THEN 'it is covered by an equal index under another name'
        WHEN NOT equal THEN 'another relation or another definition has its name'
        WHEN NOT usable THEN 'it is INVALID: being built now, or left by a build that failed'
        ELSE 'it is there as declared'
    END AS pgix_found
FROM (
    SELECT
        EXISTS (
            SELECT FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = 'public' AND c.relname = 'idx_posts_user_created'
        ) AS named,
        COALESCE(pg_catalog.bool_or(s.indexname = 'idx_posts_user_created' AND s.in_place), false) AS equal,
        COALESCE(pg_catalog.bool_or(s.indexname = 'idx_posts_user_created' AND s.usable), false) AS usable,
        COALESCE(pg_catalog.bool_or(s.indexname <> 'idx_posts_user_created' AND s.usable), false) AS covered
    FROM (
        SELECT
            t.indexname,
            true AS in_place,
            t.indisvalid AND t.indisready AND t.indislive AS usable
        FROM (
SELECT
    i.indexrelid::pg_catalog.int8 AS indexrelid,
    c.relname::pg_catalog.text AS indexname,
    i.indisvalid,
    i.indisready,
    i.indislive,
    i.indisunique,
    pg_catalog.pg_get_indexdef(i.indexrelid) AS definition,
    pg_catalog.substr(
        pg_catalog.pg_get_indexdef(i.indexrelid),
        pg_catalog.length(pg_catalog.concat(
            'CREATE ', CASE WHEN i.indisunique THEN 'UNIQUE ' END,
            'INDEX ', pg_catalog.quote_ident(c.relname),
            ' ON ', CASE WHEN t.relkind = 'p' THEN 'ONLY ' END,
            pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(t.relname), ' '
        )) + 1
    ) AS nature,
    s.spcname::pg_catalog.text AS tablespace
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
LEFT JOIN pg_catalog.pg_tablespace AS s
    ON s.oid = CASE WHEN c.reltablespace = 0 THEN d.dattablespace ELSE c.reltablespace END
WHERE i.indrelid = $sql$public.posts$sql$::pg_catalog.regclass::pg_catalog.oid
ORDER BY c.relname
        ) AS t
        WHERE t.nature = :'pgix_nature' AND t.indisunique = :'pgix_indisunique'
    ) AS s
) AS f \gset
\if :pgix_settled
\echo '  nothing to do:' :pgix_found
\elif :pgix_absent
-- The intent comes before the statement: whatever happens next, the index is known as this migration's.
INSERT INTO "public"."migration_events" (run, name, index_name, phase, status, definition)
VALUES (:'pgix_run', '090_quick_win_4_missing_indexes', 'idx_posts_user_created', 'building', 'in_progress', :'pgix_definition');
\echo '  building; reads and writes continue'
SELECT $sql$CREATE INDEX CONCURRENTLY "idx_posts_user_created" ON "public"."posts" USING "btree" (user_id, created_at DESC) WHERE deleted_at IS NULL$sql$ \gexec
DO $sql1$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = $sql$public.idx_posts_user_created$sql$::pg_catalog.regclass AND indisvalid AND indisready AND indislive) THEN RAISE EXCEPTION USING MESSAGE = $sql$public.idx_posts_user_created is not valid after its build$sql$; END IF; END$sql1$;
INSERT INTO "public"."migration_events" (run, name, index_name, phase, status, definition)
VALUES (:'pgix_run', '090_quick_win_4_missing_indexes', 'idx_posts_user_created', 'catalog_ok', 'done', :'pgix_definition');
\echo '  built'
\else
\warn '  stopped:' :pgix_found
DO $sql1$BEGIN RAISE EXCEPTION USING MESSAGE = $sql$public.idx_posts_user_created is not built$sql$, HINT = $sql$If it is INVALID and not being built: DROP INDEX CONCURRENTLY "public"."idx_posts_user_created"; if its definition differs: rename one of the two.$sql$; END$sql1$;
\endif

-- What was built and not seen through to its end, by this run or by one that was stopped.
SELECT pg_catalog.count(*) > 0 AS pgix_unfinished
FROM "public"."migration_log" AS l
WHERE l.name = '090_quick_win_4_missing_indexes' AND l.index_name = ANY (ARRAY['idx_messages_sender_created', 'idx_posts_user_created']::pg_catalog.text[])
    AND l.phase IN ('building', 'detached', 'catalog_ok', 'analyzed') AND l.status <> 'failed' \gset
\if :pgix_unfinished
\echo 'analyzing'
ANALYZE "public"."messages";
ANALYZE "public"."posts";
ANALYZE "public"."users";
ANALYZE "public"."user_feed_preferences";
INSERT INTO "public"."migration_events" (run, name, index_name, phase, status, definition)
SELECT :'pgix_run', l.name, l.index_name, 'analyzed', 'done', l.definition
FROM "public"."migration_log" AS l
WHERE l.name = '090_quick_win_4_missing_indexes' AND l.index_name = ANY (ARRAY['idx_messages_sender_created', 'idx_posts_user_created']::pg_catalog.text[])
    AND l.phase IN ('building', 'detached', 'catalog_ok', 'analyzed') AND l.status <> 'failed';
INSERT INTO "public"."migration_events" (run, name, index_name, phase, status, definition)
SELECT :'pgix_run', l.name, l.index_name, 'done', 'done', l.definition
FROM "public"."migration_log" AS l
WHERE l.name = '090_quick_win_4_missing_indexes' AND l.index_name = ANY (ARRAY['idx_messages_sender_created', 'idx_posts_user_created']::pg_catalog.text[])
    AND l.phase IN ('building', 'detached', 'catalog_ok', 'analyzed') AND l.status <> 'failed';
INSERT INTO "public"."migration_events" (run, name, phase, status)
VALUES (:'pgix_run', '090_quick_win_4_missing_indexes', 'done', 'done');
\echo 'done; `pg-index-exporter verify` proves by plan that queries use the indexes'
\else
\echo 'nothing to do'
\endif
