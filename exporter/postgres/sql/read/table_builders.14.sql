-- Sessions that hold ShareUpdateExclusiveLock on one table: builds, drops and ANALYZE, autovacuum apart.
-- A drop holds it on its index too, which a build that is not REINDEX does not.
-- privileges: pg_read_all_stats to see names of other roles' sessions; lock: none; cost: pg_locks twice
SELECT DISTINCT
    l.pid,
    a.application_name,
    a.usename::pg_catalog.text AS usename,
    ARRAY(
        SELECT k.relation::pg_catalog.int8
        FROM pg_catalog.pg_locks AS k
        JOIN pg_catalog.pg_index AS i ON i.indexrelid = k.relation AND i.indrelid = l.relation
        WHERE k.locktype = 'relation'
            AND k.database = l.database
            AND k.pid = l.pid
            AND k.mode = 'ShareUpdateExclusiveLock'
            AND k.granted
        ORDER BY k.relation
    ) AS locked_indexes
FROM pg_catalog.pg_locks AS l
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'relation'
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
    AND l.relation = %(relid)s::pg_catalog.oid
    AND l.mode = 'ShareUpdateExclusiveLock'
    AND l.granted
    AND l.pid <> pg_catalog.pg_backend_pid()
    AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
