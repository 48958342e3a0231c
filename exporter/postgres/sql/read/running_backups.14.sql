-- Base backups of this server and dumps of this database that run now, by what they call themselves.
-- units: seconds; NULL where we may not see it
-- privileges: pg_read_all_stats to see since when they run; lock: none; cost: pg_stat_activity once
SELECT
    a.pid,
    CASE WHEN b.pid IS NOT NULL OR a.application_name = 'pg_basebackup' THEN 'base backup' ELSE 'dump' END AS kind,
    a.application_name,
    a.usename::pg_catalog.text AS usename,
    b.phase,
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - coalesce(a.xact_start, a.backend_start))
        ::pg_catalog.float8 AS age_seconds
FROM pg_catalog.pg_stat_activity AS a
LEFT JOIN pg_catalog.pg_stat_progress_basebackup AS b ON b.pid = a.pid
WHERE b.pid IS NOT NULL
    OR a.application_name = 'pg_basebackup'
    OR (
        a.application_name IN ('pg_dump', 'pg_dumpall')
        AND a.datid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
    )
ORDER BY a.pid
