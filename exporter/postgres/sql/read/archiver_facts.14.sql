-- What archiving has come to, one row.
-- units: seconds since the epoch; NULL for what never happened
-- privileges: none; lock: none; cost: constant
SELECT
    pg_catalog.current_setting('archive_mode') AS archive_mode,
    a.failed_count,
    a.last_failed_wal,
    pg_catalog.date_part('epoch', a.last_archived_time)::pg_catalog.float8 AS last_archived_time,
    pg_catalog.date_part('epoch', a.last_failed_time)::pg_catalog.float8 AS last_failed_time,
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())::pg_catalog.float8 AS clock_timestamp
FROM pg_catalog.pg_stat_archiver AS a
