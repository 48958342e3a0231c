-- Every table below a partitioned one, tables before their partitions.
-- Partitions that are being detached concurrently have left already: new rows do not go there.
-- privileges: none; lock: AccessShareLock on catalogues; cost: one row a partition
-- units: relpages in blocks; quoted_name is schema and name as pg_get_indexdef would write them
WITH RECURSIVE tree (relid, parent_relid, level) AS (
    SELECT h.inhrelid, h.inhparent, 1
    FROM pg_catalog.pg_inherits AS h
    WHERE h.inhparent = %(root_relid)s::pg_catalog.oid AND NOT h.inhdetachpending
    UNION ALL
    SELECT h.inhrelid, h.inhparent, t.level + 1
    FROM tree AS t
    JOIN pg_catalog.pg_class AS p ON p.oid = t.relid
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = t.relid
    WHERE p.relkind = 'p' AND NOT h.inhdetachpending
)
SELECT
    t.relid::pg_catalog.int8 AS relid,
    t.parent_relid::pg_catalog.int8 AS parent_relid,
    n.nspname::pg_catalog.text AS schemaname,
    c.relname::pg_catalog.text AS relname,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS quoted_name,
    c.relkind::pg_catalog.text AS relkind,
    c.relpages::pg_catalog.int8 AS relpages,
    pg_catalog.pg_has_role(c.relowner, 'USAGE') AS is_owner,
    pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text AS owner_name,
    EXISTS (
        SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = c.relowner AND r.rolsuper
    ) AS owner_is_superuser,
    pg_catalog.has_schema_privilege(c.relnamespace, 'CREATE') AS may_create
FROM tree AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.relid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY t.level, n.nspname, c.relname
