-- Every relation of this database on which another session holds, or waits for, an AccessExclusiveLock.
-- privileges: none; lock: none; cost: one pass over the lock table
SELECT DISTINCT l.relation AS relid
FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'relation'
    AND l.mode = 'AccessExclusiveLock'
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
    AND l.pid <> pg_catalog.pg_backend_pid()
