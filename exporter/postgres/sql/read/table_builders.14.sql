-- Sessions that hold ShareUpdateExclusiveLock on one table: builds, drops and ANALYZE, autovacuum apart.
-- privileges: pg_read_all_stats to see names of other roles' sessions; lock: none; cost: pg_locks once
SELECT DISTINCT
    l.pid,
    a.application_name,
    a.usename::pg_catalog.text AS usename
FROM pg_catalog.pg_locks AS l
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'relation'
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
    AND l.relation = %(relid)s::pg_catalog.oid
    AND l.mode = 'ShareUpdateExclusiveLock'
    AND l.granted
    AND l.pid <> pg_catalog.pg_backend_pid()
    AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
