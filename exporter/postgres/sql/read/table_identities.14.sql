-- One row per given table: who it is.
-- privileges: none; lock: AccessShareLock on the catalogues only, never on the table
-- cost: microseconds a table; asked only when the fingerprint of table_figures changed
-- units: none
SELECT
    c.oid AS relid,
    n.nspname AS schemaname,
    c.relname,
    c.xmin::pg_catalog.text AS catalogue_version
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%(relids)s::pg_catalog.oid[])
