-- How many standbys stream from this server, one row.
-- Only a session that replays reports what it replayed: base backups and pg_receivewal do not. Subscribers do, over a
-- logical slot.
-- privileges: pg_read_all_stats, without which walsenders is NULL while there is any connection
-- lock: none; cost: one pass over the WAL senders and one over the replication slots
-- units: connections; hidden are those whose state we may not see
SELECT
    CASE WHEN pg_catalog.count(*) = pg_catalog.count(s.state)
        THEN pg_catalog.count(*) FILTER (
            WHERE s.replay_lsn IS NOT NULL
                AND NOT EXISTS (
                    SELECT
                    FROM pg_catalog.pg_replication_slots AS r
                    WHERE r.active_pid = s.pid AND r.slot_type = 'logical'
                )
        )
    END AS walsenders,
    pg_catalog.count(*) - pg_catalog.count(s.state) AS hidden
FROM pg_catalog.pg_stat_get_wal_senders() AS s
