-- How much WAL the server has written so far, NULL on a standby: two looks give what was written between.
-- privileges: none; lock: none; cost: constant
-- units: bytes since the beginning of the log
SELECT
    CASE WHEN NOT pg_catalog.pg_is_in_recovery()
        THEN pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8
    END AS position_bytes
