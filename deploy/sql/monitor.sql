-- Creates the role for `pg-index-exporter serve`, `check`, `status` and `verify`. Run it as a superuser, on the
-- primary, in every database that is watched. A second run changes nothing.
--
--   psql -X -d DATABASE -v tables='{messages,posts}' -f monitor.sql
--   psql -X -d DATABASE -c '\password index_monitor'
--
-- tables          the tables of the manifests, as an array of SQL names: '{app.messages}'
-- role            name of the role (default index_monitor; names that begin with pg_ are reserved)
-- journal_schema  schema of the journal of `init` (default public); `init` grants the journal to pg_monitor
--
-- The role can read all statistics and settings (pg_monitor), and these tables, because EXPLAIN of a query
-- needs the privileges of the query. It cannot write.
\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role index_monitor
\endif
\if :{?journal_schema}
\else
  \set journal_schema public
\endif
\if :{?tables}
\else
  DO $$ BEGIN
    RAISE EXCEPTION 'variable tables is not set'
      USING HINT = 'psql -X -d DATABASE -v tables=''{messages,posts}'' -f monitor.sql';
  END $$;
\endif

BEGIN;
-- A DO block cannot see psql's variables.
SET LOCAL index_role.name = :'role';
-- Suppresses "already a member" in a second run.
SET LOCAL client_min_messages = warning;

DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = current_setting('index_role.name') AND rolsuper) THEN
    RAISE EXCEPTION 'role % is a superuser and cannot be limited', current_setting('index_role.name')
      USING HINT = 'Use another role: -v role=index_monitor';
  END IF;
END $$;

SELECT format('CREATE ROLE %I', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role')
\gexec

SELECT format(command, :'role')
FROM (
  VALUES
    ('ALTER ROLE %I LOGIN INHERIT'),
    ('GRANT pg_monitor TO %I'),
    -- Against accidents; the role has no privilege to write in any case.
    ('ALTER ROLE %I SET default_transaction_read_only = on')
) AS statement (command)
\gexec

SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), :'role')
\gexec

SELECT format('GRANT USAGE ON SCHEMA %s TO %I', schema, :'role')
FROM (
  SELECT relnamespace::regnamespace FROM pg_class WHERE oid = ANY (:'tables'::regclass[])
  UNION
  SELECT quote_ident(:'journal_schema')::regnamespace
  UNION
  -- The extension is often in its own schema.
  SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_stat_statements'
) AS needed (schema)
\gexec

SELECT format('GRANT SELECT ON TABLE %s TO %I', relation, :'role')
FROM unnest(:'tables'::regclass[]) AS relation
\gexec

-- The exporter's own reads must not count as use of the indexes: planning alone can raise idx_scan.
-- Both settings need a superuser. They also apply if pg_stat_statements is preloaded later.
DO $$
DECLARE
  setting text[];
BEGIN
  FOREACH setting SLICE 1 IN ARRAY ARRAY[['track_counts', 'off'], ['pg_stat_statements.track', 'none']] LOOP
    BEGIN
      EXECUTE format('ALTER ROLE %I SET %s = %s', current_setting('index_role.name'), setting[1], setting[2]);
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE WARNING '% = % was not set for role %: this needs a superuser',
          setting[1], setting[2], current_setting('index_role.name')
        USING HINT = 'The rest is done. Without this setting the exporter''s own reads are counted as use.';
    END;
  END LOOP;
END $$;
COMMIT;
\echo 'Role' :role 'can read. Set its password with: \\password' :role
