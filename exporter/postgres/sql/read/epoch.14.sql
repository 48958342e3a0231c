-- Since when the counters of this database count, one row.
-- A crash, an immediate stop and the cloning of a standby zero all counters and say nothing of it in
-- pg_stat_database.stats_reset. The fixed-size statistics do: their stats_reset becomes that moment, and a
-- clean restart keeps it. The oldest of them counts, because pg_stat_reset_shared() and pg_stat_reset_slru()
-- move one of them and zero no index.
-- privileges: none; lock: none; cost: constant
-- units: seconds since the epoch, by the server's clock
SELECT
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) AS server_time,
    pg_catalog.date_part('epoch', GREATEST(
        pg_catalog.pg_stat_get_db_stat_reset_time(d.oid),
        LEAST(
            (SELECT b.stats_reset FROM pg_catalog.pg_stat_bgwriter AS b),
            (SELECT c.stats_reset FROM pg_catalog.pg_stat_checkpointer AS c),  -- from 17
            (SELECT a.stats_reset FROM pg_catalog.pg_stat_archiver AS a),
            (SELECT w.stats_reset FROM pg_catalog.pg_stat_wal AS w),
            (SELECT pg_catalog.min(s.stats_reset) FROM pg_catalog.pg_stat_slru AS s)
        )
    )) AS counters_since
FROM pg_catalog.pg_database AS d
WHERE d.datname = pg_catalog.current_database()
