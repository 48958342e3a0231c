-- One row per watched index: who it is, in which state, and its counters.
-- unnest of several arrays is syntax, not a function of pg_catalog; search_path is pinned anyway.
-- privileges: none; lock: AccessShareLock on the catalogues only, never on the index or its table;
-- cost: one probe per declared index and partition of it, or one pass over pg_class when a pattern is watched
-- units: counts; last_idx_scan is NULL, PostgreSQL 16 has it first
-- A partitioned index (relkind I) has no storage and no counters: they are NULL, not 0. A declared one brings
-- its leaves along, through all levels; `parents` are the oids of those that a leaf belongs to.
WITH RECURSIVE declared AS (
    SELECT c.oid, c.relkind
    FROM unnest(%(schemanames)s::pg_catalog.text[], %(indexnames)s::pg_catalog.text[])
        AS named (schemaname, indexname)
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = named.schemaname
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = named.indexname
    WHERE c.relkind IN ('i', 'I')
),
partitions (oid, parent) AS (
    SELECT h.inhrelid, d.oid
    FROM declared AS d
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = d.oid
    WHERE d.relkind = 'I'
    UNION
    SELECT h.inhrelid, p.parent
    FROM partitions AS p
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = p.oid
),
leaves AS (
    SELECT p.oid, pg_catalog.array_agg(p.parent::pg_catalog.int8) AS parents
    FROM partitions AS p
    JOIN pg_catalog.pg_class AS c ON c.oid = p.oid
    WHERE c.relkind = 'i'
    GROUP BY p.oid
),
watched AS (
    SELECT c.oid
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE %(watch)s
        AND c.relkind IN ('i', 'I')
        AND c.relpersistence <> 't'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        AND (
            %(pattern)s::pg_catalog.text IS NULL
            OR n.nspname || '.' || c.relname ~ %(pattern)s::pg_catalog.text COLLATE "C"
        )
        AND NOT EXISTS (SELECT FROM declared AS d WHERE d.oid = c.oid)
        AND NOT EXISTS (SELECT FROM leaves AS l WHERE l.oid = c.oid)
    ORDER BY c.oid
    LIMIT %(max_indexes)s
),
chosen AS (
    SELECT d.oid FROM declared AS d
    UNION
    SELECT l.oid FROM leaves AS l
    UNION
    SELECT w.oid FROM watched AS w
)
SELECT
    i.indexrelid,
    i.indrelid AS relid,
    n.nspname AS schemaname,
    t.relname,
    c.relname AS indexname,
    CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_stat_get_numscans(i.indexrelid) END AS idx_scan,
    CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_stat_get_tuples_returned(i.indexrelid) END AS idx_tup_read,
    CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_stat_get_tuples_fetched(i.indexrelid) END AS idx_tup_fetch,
    NULL::pg_catalog.float8 AS last_idx_scan,
    CASE WHEN c.relkind = 'i'
        THEN pg_catalog.pg_stat_get_blocks_fetched(i.indexrelid)
            - pg_catalog.pg_stat_get_blocks_hit(i.indexrelid)
    END AS idx_blks_read,
    CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_stat_get_blocks_hit(i.indexrelid) END AS idx_blks_hit,
    i.indisvalid,
    i.indisready,
    a.amname AS method,
    i.indisunique,
    i.indisprimary,
    con.contype::pg_catalog.text AS contype,
    i.indpred IS NOT NULL AS is_partial,
    i.indexprs IS NOT NULL AS is_expression,
    i.xmin::pg_catalog.text || '/' || c.xmin::pg_catalog.text AS catalogue_version,
    leaves.parents
FROM chosen
JOIN pg_catalog.pg_index AS i ON i.indexrelid = chosen.oid
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_am AS a ON a.oid = c.relam
LEFT JOIN pg_catalog.pg_constraint AS con
    ON con.conrelid = i.indrelid AND con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x')
LEFT JOIN leaves ON leaves.oid = chosen.oid
