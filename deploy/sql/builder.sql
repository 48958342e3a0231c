-- The role that `pg-index-exporter init` and `rollback` build and drop indexes with. Run it as a superuser,
-- in every database that has a manifest, on the primary; running it again changes nothing.
--
--   psql -X -d DATABASE -v tables='{messages,posts}' -f builder.sql
--   psql -X -d DATABASE -c '\password index_builder'
--
-- tables          the tables that the manifests name, as an array of names as SQL writes them: '{app.messages}'
-- role            the role's name (default index_builder; names that begin with pg_ are PostgreSQL's own)
-- journal_schema  where `init` keeps its journal (default public)
--
-- What it may: all that the tables' owner may, because PostgreSQL lets nobody else create an index; create
-- objects in these schemas; use temporary tables; see what other sessions do (pg_read_all_stats), to name
-- those that a build waits for. To let it cancel them (policies cancel and terminate), also:
--   GRANT pg_signal_backend TO index_builder;
-- and, from PostgreSQL 15 on, to have ten seconds for it before a build falls to who queues behind it:
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
    RAISE EXCEPTION 'the tables are not named'
      USING HINT = 'psql -X -d DATABASE -v tables=''{messages,posts}'' -f builder.sql';
  END $$;
\endif

BEGIN;
-- A DO block cannot see psql's variables.
SET LOCAL index_role.name = :'role';
SET LOCAL index_role.tables = :'tables';
-- "already a member" is no news in a script that may run twice.
SET LOCAL client_min_messages = warning;

DO $$
DECLARE
  unfit text;
BEGIN
  -- ANALYZE reports through the counters, so a role that does not count would leave statistics stale.
  SELECT setting INTO unfit
  FROM pg_db_role_setting, pg_roles, unnest(setconfig) AS setting
  WHERE setrole = pg_roles.oid AND rolname = current_setting('index_role.name')
    AND setting ~ '^(track_counts|default_transaction_read_only)=';
  IF unfit IS NOT NULL THEN
    RAISE EXCEPTION 'role % has the setting %, with which it cannot build', current_setting('index_role.name'), unfit
      USING HINT = 'Name another role than the exporter''s: -v role=index_builder';
  END IF;

  SELECT format('%s, owned by %I', pg_class.oid::regclass, rolname) INTO unfit
  FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner
  WHERE pg_class.oid = ANY (current_setting('index_role.tables')::regclass[]) AND rolsuper;
  IF unfit IS NOT NULL THEN
    RAISE EXCEPTION 'a superuser owns table %', unfit
      USING
        DETAIL = 'Only the owner may create an index, and membership in a superuser would give the builder everything.',
        HINT = 'Give the table an owner of its own first: ALTER TABLE ... OWNER TO ...';
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
\echo 'Role' :role 'may build. Give it a password with: \\password' :role
