-- What a table is partitioned by, one row, none when there is no such relation.
-- privileges: none; lock: AccessShareLock on catalogues; cost: one row
-- partition_key is SQL as after PARTITION BY, NULL where the table is not partitioned
SELECT CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END AS partition_key
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schemaname)s AND c.relname = %(relname)s
