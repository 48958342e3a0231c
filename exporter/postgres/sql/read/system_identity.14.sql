-- Which system this is, one row: a session that was lost must come back to the same.
-- privileges: none (pg_control_system() is executable by everybody); lock: none; cost: constant
-- units: system_identifier as text, because it exceeds a float's 53 bits; timeline_id NULL on a standby
SELECT
    (SELECT s.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() AS s) AS system_identifier,
    -- Of the WAL that is written now: the control file has the timeline of the last checkpoint.
    CASE
        WHEN NOT pg_catalog.pg_is_in_recovery() THEN
            ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))
                ::pg_catalog.bit(32)::pg_catalog.int4
    END AS timeline_id,
    pg_catalog.pg_is_in_recovery() AS in_recovery
