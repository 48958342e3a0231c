-- Creates the role for `pg-index-exporter plan`, `preflight`, `init` and `rollback`. Run it as a superuser, on
-- the primary, in every database that has a manifest. A second run changes nothing.
--
--   psql -X -d DATABASE -v tables='{messages,posts}' -f builder.sql
--   psql -X -d DATABASE -c '\password index_builder'
--
-- tables          the tables of the manifests, as an array of SQL names: '{app.messages}'
-- role            name of the role (default index_builder; names that begin with pg_ are reserved)
-- journal_schema  schema of the journal of `init` (default public)
--
-- The role gets the privileges of the owners of the tables, because PostgreSQL lets only the owner create an
-- index; CREATE in their schemas; temporary tables; and pg_read_all_stats, to name the sessions that a build
-- waits for. To let it cancel or terminate them (--on-blocker, --on-waiter), also:
--   GRANT pg_signal_backend TO index_builder;
-- and, from PostgreSQL 15 on, to give it ten seconds before a queued session kills a build by deadlock:
--   GRANT SET ON PARAMETER deadlock_timeout TO index_builder;
\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role index_builder
\endif
\if :{?journal_schema}
\else
  \set journal_schema public
\endif
\if :{?tables}
\else
  DO $$ BEGIN
    RAISE EXCEPTION 'variable tables is not set'
      USING HINT = 'psql -X -d DATABASE -v tables=''{messages,posts}'' -f builder.sql';
  END $$;
\endif

BEGIN;
-- A DO block cannot see psql's variables.
SET LOCAL index_role.name = :'role';
SET LOCAL index_role.tables = :'tables';
-- Suppresses "already a member" in a second run.
SET LOCAL client_min_messages = warning;

DO $$
DECLARE
  unfit text;
BEGIN
  -- ANALYZE reports through the counters: without them statistics would stay stale.
  SELECT setting INTO unfit
  FROM pg_db_role_setting, pg_roles, unnest(setconfig) AS setting
  WHERE setrole = pg_roles.oid AND rolname = current_setting('index_role.name')
    AND setting ~ '^(track_counts|default_transaction_read_only)=';
  IF unfit IS NOT NULL THEN
    RAISE EXCEPTION 'role % has the setting % and cannot build with it', current_setting('index_role.name'), unfit
      USING HINT = 'Use another role than that of the exporter: -v role=index_builder';
  END IF;

  SELECT format('%s, owned by %I', pg_class.oid::regclass, rolname) INTO unfit
  FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner
  WHERE pg_class.oid = ANY (current_setting('index_role.tables')::regclass[]) AND rolsuper;
  IF unfit IS NOT NULL THEN
    RAISE EXCEPTION 'a superuser owns table %', unfit
      USING
        DETAIL = 'Only the owner may create an index, and membership in a superuser would give the builder everything.',
        HINT = 'Change the owner of the table first: ALTER TABLE ... OWNER TO ...';
  END IF;
END $$;

SELECT format('CREATE ROLE %I', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role')
\gexec

SELECT format(command, :'role')
FROM (
  VALUES
    ('ALTER ROLE %I LOGIN INHERIT'),
    ('GRANT pg_read_all_stats TO %I')
) AS statement (command)
\gexec

SELECT format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', current_database(), :'role')
\gexec

SELECT format('GRANT USAGE, CREATE ON SCHEMA %s TO %I', schema, :'role')
FROM (
  SELECT relnamespace::regnamespace FROM pg_class WHERE oid = ANY (:'tables'::regclass[])
  UNION
  SELECT quote_ident(:'journal_schema')::regnamespace
) AS needed (schema)
\gexec

SELECT DISTINCT format('GRANT %I TO %I', owner.rolname, :'role')
FROM pg_class JOIN pg_roles AS owner ON owner.oid = relowner
WHERE pg_class.oid = ANY (:'tables'::regclass[]) AND owner.rolname <> :'role'
\gexec
COMMIT;
\echo 'Role' :role 'can build. Set its password with: \\password' :role
