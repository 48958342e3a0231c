-- How many undeclared indexes match what is watched, one row; asked only when max_indexes cut the list.
-- unnest of several arrays is syntax, not a function of pg_catalog; search_path is pinned anyway.
-- privileges: none; lock: AccessShareLock on the catalogues only; cost: one pass over pg_class
-- units: indexes
WITH RECURSIVE declared AS (
    SELECT c.oid, c.relkind
    FROM unnest(%(schemanames)s::pg_catalog.text[], %(indexnames)s::pg_catalog.text[])
        AS named (schemaname, indexname)
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = named.schemaname
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = named.indexname
    WHERE c.relkind IN ('i', 'I')
),
partitions (oid, parent) AS (
    SELECT h.inhrelid, d.oid
    FROM declared AS d
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = d.oid
    WHERE d.relkind = 'I'
    UNION
    SELECT h.inhrelid, p.parent
    FROM partitions AS p
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = p.oid
)
SELECT pg_catalog.count(*) AS indexes
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('i', 'I')
    AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    AND (
        %(pattern)s::pg_catalog.text IS NULL
        OR n.nspname || '.' || c.relname ~ %(pattern)s::pg_catalog.text COLLATE "C"
    )
    AND NOT EXISTS (SELECT FROM declared AS d WHERE d.oid = c.oid)
    AND NOT EXISTS (SELECT FROM partitions AS p WHERE p.oid = c.oid AND c.relkind = 'i')
