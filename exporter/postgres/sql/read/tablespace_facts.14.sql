-- The tablespaces of these names, and what the current role may do with them; none for those that are missing.
-- privileges: none; lock: AccessShareLock on pg_tablespace; cost: one row a tablespace
SELECT
    s.oid::pg_catalog.int8 AS oid,
    s.spcname::pg_catalog.text AS spcname,
    pg_catalog.has_tablespace_privilege(s.oid, 'CREATE') AS may_create,
    s.oid = (SELECT d.dattablespace FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
        AS is_default
FROM pg_catalog.pg_tablespace AS s
WHERE s.spcname = ANY (%(spcnames)s::pg_catalog.text[]) OR s.spcname = 'pg_default'
