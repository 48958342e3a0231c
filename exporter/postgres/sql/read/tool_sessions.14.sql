-- A session of this tool as it works on one table: one row while the process is there.
-- A build or drop holds ShareUpdateExclusiveLock on its table, or queues for it.
-- has_live_run is true if its run has another session, which ends with the run's process; sessions that only
-- clean up do not count, they can outlive it.
-- units: seconds
-- privileges: pg_read_all_stats to see more than names of other roles' sessions; lock: none; cost: pg_locks once
SELECT
    a.pid,
    a.application_name,
    coalesce(a.query ~* '^\s*drop\s', false) AS is_drop,
    EXISTS (
        SELECT FROM pg_catalog.pg_stat_progress_create_index AS p
        WHERE p.pid = a.pid AND p.datid = a.datid
    )
    OR EXISTS (
        SELECT FROM pg_catalog.pg_locks AS l
        WHERE l.pid = a.pid
            AND l.locktype = 'relation'
            AND l.database = a.datid
            AND l.relation = %(relid)s::pg_catalog.oid
            AND l.mode = 'ShareUpdateExclusiveLock'
    ) AS is_at_work,
    EXISTS (
        SELECT FROM pg_catalog.pg_stat_activity AS o
        WHERE o.datid = a.datid
            AND o.pid <> a.pid
            AND o.application_name LIKE 'pg-index-exporter-%%/%%'
            AND o.application_name NOT LIKE 'pg-index-exporter-cleanup/%%'
            AND pg_catalog.split_part(o.application_name, '/', 2)
                = pg_catalog.split_part(a.application_name, '/', 2)
    ) AS has_live_run,
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.query_start)::pg_catalog.float8
        AS working_seconds
FROM pg_catalog.pg_stat_activity AS a
WHERE a.pid = %(pid)s::pg_catalog.int4
    AND a.datid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
