-- How many undeclared indexes match what is watched, one row; asked only when max_indexes cut the list.
-- unnest of several arrays is syntax, not a function of pg_catalog; search_path is pinned anyway.
-- privileges: none; lock: AccessShareLock on the catalogues only; cost: one pass over pg_class
-- units: indexes
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
    AND NOT EXISTS (
        SELECT
        FROM unnest(%(schemanames)s::pg_catalog.text[], %(indexnames)s::pg_catalog.text[])
            AS declared (schemaname, indexname)
        WHERE declared.schemaname = n.nspname AND declared.indexname = c.relname
    )
