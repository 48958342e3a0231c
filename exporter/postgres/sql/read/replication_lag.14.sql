-- Standbys and subscribers that stream from here, and how far each is behind.
-- units: bytes, seconds; state is NULL where we may not see it, replay_lag_seconds while nothing is written
-- privileges: pg_read_all_stats to see more than application_name; lock: none; cost: one row a connection
SELECT
    r.pid,
    r.application_name,
    r.state,
    r.sync_state,
    pg_catalog.pg_wal_lsn_diff(
        CASE WHEN pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_last_wal_replay_lsn()
            ELSE pg_catalog.pg_current_wal_lsn()
        END,
        r.replay_lsn
    )::pg_catalog.int8 AS replay_lag_bytes,
    pg_catalog.date_part('epoch', r.replay_lag)::pg_catalog.float8 AS replay_lag_seconds
FROM pg_catalog.pg_stat_replication AS r
-- Base backups do not replay.
WHERE r.state IS DISTINCT FROM 'backup'
ORDER BY replay_lag_bytes DESC NULLS LAST
