-- How large one declared index and its table are, partitions included.
-- privileges: none; lock: AccessShareLock on both, so it waits behind AccessExclusiveLock (give it a
-- lock_timeout); cost: one stat() per segment file
-- units: bytes; table_pages in blocks of the main fork; size_bytes is NULL where the index does not exist
WITH RECURSIVE tables (oid) AS (
    SELECT %(relid)s::pg_catalog.oid
    UNION
    SELECT h.inhrelid
    FROM pg_catalog.pg_inherits AS h
    JOIN tables AS t ON t.oid = h.inhparent
    JOIN pg_catalog.pg_class AS c ON c.oid = h.inhrelid AND c.relispartition
),
indexes (oid) AS (
    SELECT %(indexrelid)s::pg_catalog.oid
    UNION
    SELECT h.inhrelid
    FROM pg_catalog.pg_inherits AS h
    JOIN indexes AS i ON i.oid = h.inhparent
)
SELECT
    (SELECT pg_catalog.sum(pg_catalog.pg_relation_size(i.oid)) FROM indexes AS i)::pg_catalog.int8
        AS size_bytes,
    (SELECT pg_catalog.sum(pg_catalog.pg_table_size(t.oid)) FROM tables AS t)::pg_catalog.int8
        AS table_size_bytes,
    (SELECT pg_catalog.sum(pg_catalog.pg_relation_size(t.oid)) FROM tables AS t)::pg_catalog.int8
        / pg_catalog.current_setting('block_size')::pg_catalog.int8 AS table_pages
