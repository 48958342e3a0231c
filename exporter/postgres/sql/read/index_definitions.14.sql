-- The definition of each given index on whose table no session holds, or waits for, an AccessExclusiveLock.
-- privileges: none
-- lock: AccessShareLock on the index's table, under lock_timeout; a locked one is skipped, because asking
-- would wait until the lock is gone
-- cost: tens of microseconds an index
-- A partitioned index says ON ONLY, which is not part of how it was declared: the word is taken out.
SELECT
    d.indexrelid,
    CASE
        WHEN d.relkind = 'I' THEN pg_catalog.overlay(d.definition, '', d.prefix_length + 1, 5)
        ELSE d.definition
    END AS definition
FROM (
    SELECT
        i.indexrelid,
        c.relkind,
        pg_catalog.pg_get_indexdef(i.indexrelid) AS definition,
        pg_catalog.length(pg_catalog.concat(
            'CREATE ', CASE WHEN i.indisunique THEN 'UNIQUE ' END,
            'INDEX ', pg_catalog.quote_ident(c.relname), ' ON '
        )) AS prefix_length
    FROM pg_catalog.unnest(%(indexrelids)s::pg_catalog.oid[]) AS wanted (indexrelid)
    JOIN pg_catalog.pg_index AS i ON i.indexrelid = wanted.indexrelid
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    WHERE NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_locks AS l
        WHERE l.locktype = 'relation'
            AND l.mode = 'AccessExclusiveLock'
            AND l.relation IN (i.indexrelid, i.indrelid)
            AND l.database = (
                SELECT b.oid FROM pg_catalog.pg_database AS b WHERE b.datname = pg_catalog.current_database()
            )
            AND l.pid <> pg_catalog.pg_backend_pid()
    )
) AS d
