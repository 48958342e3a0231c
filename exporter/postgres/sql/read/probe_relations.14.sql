-- One row per table that a scan of the declared table may read: the table, its partitions and children,
-- with the index among `indexnames` (or its partition) there; indexname is NULL where there is none.
-- privileges: none; lock: AccessShareLock on the catalogues only; cost: the number of partitions
-- units: names as the catalogue stores them, unquoted, as EXPLAIN (FORMAT JSON) shows them
WITH RECURSIVE tables AS (
    SELECT c.oid, c.relnamespace, c.relname
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schemaname)s AND c.relname = %(relname)s
    UNION
    SELECT c.oid, c.relnamespace, c.relname
    FROM pg_catalog.pg_inherits AS h
    JOIN tables AS t ON t.oid = h.inhparent
    JOIN pg_catalog.pg_class AS c ON c.oid = h.inhrelid
),
indexes AS (
    SELECT i.indexrelid, i.indrelid, c.relname
    FROM tables AS t
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
    JOIN pg_catalog.pg_index AS i ON i.indrelid = t.oid
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    WHERE n.nspname = %(schemaname)s
        AND t.relname = %(relname)s
        AND c.relname = ANY (%(indexnames)s::pg_catalog.text[])
    UNION
    SELECT i.indexrelid, i.indrelid, c.relname
    FROM pg_catalog.pg_inherits AS h
    JOIN indexes AS p ON p.indexrelid = h.inhparent
    JOIN pg_catalog.pg_index AS i ON i.indexrelid = h.inhrelid
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
)
SELECT
    n.nspname AS schemaname,
    t.relname,
    x.relname AS indexname
FROM tables AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
LEFT JOIN indexes AS x ON x.indrelid = t.oid
