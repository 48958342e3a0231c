-- What a declared table is and what the current role may do with it, one row, none when it does not exist.
-- privileges: none; lock: AccessShareLock on catalogues; cost: constant
-- units: reltuples in rows, -1 when never analyzed; relpages in blocks
SELECT
    c.oid::pg_catalog.int8 AS relid,
    c.relkind::pg_catalog.text AS relkind,
    c.reltuples::pg_catalog.float8 AS reltuples,
    c.relpages::pg_catalog.int8 AS relpages,
    pg_catalog.pg_has_role(c.relowner, 'USAGE') AS is_owner,
    pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text AS owner_name,
    EXISTS (
        SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = c.relowner AND r.rolsuper
    ) AS owner_is_superuser,
    pg_catalog.has_schema_privilege(c.relnamespace, 'CREATE') AS may_create,
    pg_catalog.pg_has_role(c.relowner, 'USAGE') OR pg_catalog.pg_has_role(d.datdba, 'USAGE')
        OR pg_catalog.has_table_privilege(c.oid, 'MAINTAIN')  -- from 17
        AS may_analyze,
    pg_catalog.date_part('epoch', pg_catalog.pg_stat_get_last_analyze_time(c.oid))::pg_catalog.float8
        AS last_analyze
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
WHERE n.nspname = %(schemaname)s AND c.relname = %(relname)s
