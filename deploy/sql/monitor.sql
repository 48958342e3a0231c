-- The role that `pg-index-exporter serve` reads with. Run it as a superuser, in every database that is
-- watched, on the primary; running it again changes nothing.
--
--   psql -X -d DATABASE -v tables='{messages,posts}' -f monitor.sql
--   psql -X -d DATABASE -c '\password index_monitor'
--
-- tables          the tables that the manifests name, as an array of names as SQL writes them: '{app.messages}'
-- role            the role's name (default index_monitor; names that begin with pg_ are PostgreSQL's own)
-- journal_schema  where `init` keeps its journal (default public); the journal itself is granted to pg_monitor
--
-- What it may: see all statistics and settings (pg_monitor), and read these tables, because EXPLAIN of a
-- query wants the rights of the query. What it may not: write.
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
    RAISE EXCEPTION 'the tables are not named'
      USING HINT = 'psql -X -d DATABASE -v tables=''{messages,posts}'' -f monitor.sql';
  END $$;
\endif

BEGIN;
-- A DO block cannot see psql's variables.
SET LOCAL index_role.name = :'role';
-- "already a member" is no news in a script that may run twice.
SET LOCAL client_min_messages = warning;

DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = current_setting('index_role.name') AND rolsuper) THEN
    RAISE EXCEPTION 'role % is a superuser and cannot be limited', current_setting('index_role.name')
      USING HINT = 'Name another role: -v role=index_monitor';
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
    -- Against accidents of the exporter; what the role was not granted it cannot write in any mode.
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
  -- Often put aside into a schema of its own.
  SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_stat_statements'
) AS needed (schema)
\gexec

SELECT format('GRANT SELECT ON TABLE %s TO %I', relation, :'role')
FROM unnest(:'tables'::regclass[]) AS relation
\gexec

-- The exporter's own reads must not count as use of the indexes: planning alone can raise idx_scan.
-- Both settings want a superuser. pg_stat_statements may be preloaded later; the setting then applies.
DO $$
DECLARE
  setting text[];
BEGIN
  FOREACH setting SLICE 1 IN ARRAY ARRAY[['track_counts', 'off'], ['pg_stat_statements.track', 'none']] LOOP
    BEGIN
      EXECUTE format('ALTER ROLE %I SET %s = %s', current_setting('index_role.name'), setting[1], setting[2]);
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE WARNING '% = % was not set for role %: only a superuser may',
          setting[1], setting[2], current_setting('index_role.name')
        USING HINT = 'All else is done. Without it the exporter''s own reads are counted with those of others.';
    END;
  END LOOP;
END $$;
COMMIT;
\echo 'Role' :role 'may read. Give it a password with: \\password' :role
