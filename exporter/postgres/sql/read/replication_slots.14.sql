-- Replication slots and how much WAL each holds back.
-- units: bytes; safe_wal_size_bytes is NULL where max_slot_wal_keep_size sets no limit, or the slot is lost
-- privileges: none; lock: none; cost: one row a slot
SELECT
    s.slot_name::pg_catalog.text AS slot_name,
    s.slot_type,
    s.active,
    s.wal_status,
    s.safe_wal_size AS safe_wal_size_bytes,
    pg_catalog.pg_wal_lsn_diff(
        CASE WHEN pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_last_wal_replay_lsn()
            ELSE pg_catalog.pg_current_wal_lsn()
        END,
        s.restart_lsn
    )::pg_catalog.int8 AS retained_bytes
FROM pg_catalog.pg_replication_slots AS s
ORDER BY retained_bytes DESC NULLS LAST, slot_name
