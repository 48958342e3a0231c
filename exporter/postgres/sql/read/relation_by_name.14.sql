-- The relation of a name, with its table if it is an index.
-- privileges: none; lock: AccessShareLock on catalogues; cost: one row
SELECT
    c.oid::pg_catalog.int8 AS oid,
    c.relkind::pg_catalog.text AS relkind,
    i.indrelid::pg_catalog.int8 AS relid,
    tn.nspname::pg_catalog.text AS schemaname,
    t.relname::pg_catalog.text AS relname
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
LEFT JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
WHERE n.nspname = %(schemaname)s AND c.relname = %(relname)s
