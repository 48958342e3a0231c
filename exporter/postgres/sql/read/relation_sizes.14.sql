-- The size of each given relation on which no session holds, or waits for, an AccessExclusiveLock.
-- privileges: none
-- lock: AccessShareLock on each relation, under lock_timeout; a relation that is being dropped, rewritten or
-- reindexed is skipped, because asking for its size would wait until that ends
-- cost: one stat() per segment file, several microseconds each
-- units: bytes; an index's main fork, a table with TOAST, free space and visibility maps; NULL without storage
SELECT
    c.oid AS relid,
    CASE
        WHEN c.relkind = 'i' THEN pg_catalog.pg_relation_size(c.oid)
        WHEN c.relkind IN ('r', 'm', 't') THEN pg_catalog.pg_table_size(c.oid)
    END AS size_bytes
FROM pg_catalog.unnest(%(relids)s::pg_catalog.oid[]) AS wanted (relid)
JOIN pg_catalog.pg_class AS c ON c.oid = wanted.relid
WHERE NOT EXISTS (
    SELECT
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation'
        AND l.mode = 'AccessExclusiveLock'
        AND l.relation IN (c.oid, c.reltoastrelid)
        AND l.database = (
            SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
        )
        AND l.pid <> pg_catalog.pg_backend_pid()
)
