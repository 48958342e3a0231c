-- The session that holds this tool's lock of one table, none when it is free.
-- privileges: pg_read_all_stats to see names of other roles' sessions; lock: none; cost: pg_locks once
SELECT
    l.pid,
    a.application_name,
    a.usename::pg_catalog.text AS usename,
    coalesce(a.state = 'active', false) AS is_active
FROM pg_catalog.pg_locks AS l
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory'
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
    AND l.classid = %(tool)s::pg_catalog.int4::pg_catalog.oid
    AND l.objid = %(relid)s::pg_catalog.oid
    AND l.objsubid = 2
    AND l.granted
    AND l.pid <> pg_catalog.pg_backend_pid()
