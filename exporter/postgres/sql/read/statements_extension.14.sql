-- Where pg_stat_statements is installed in this database, one row or none.
-- privileges: none; lock: AccessShareLock on the catalogues; cost: constant
SELECT
    e.extversion,
    n.nspname AS schemaname
FROM pg_catalog.pg_extension AS e
JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements'
