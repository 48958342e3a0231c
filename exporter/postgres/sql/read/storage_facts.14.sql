-- The settings that decide how much space a build takes and where, one row.
-- units: bytes; temp_file_limit_bytes and max_slot_wal_keep_size_bytes are NULL without a limit
-- dattablespace is the tablespace of the database, default_tablespace what the session's own setting says
-- privileges: none; lock: AccessShareLock on catalogues; cost: one pass over the settings
SELECT
    pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')) AS maintenance_work_mem_bytes,
    CASE WHEN pg_catalog.current_setting('temp_file_limit') <> '-1'
        THEN pg_catalog.pg_size_bytes(pg_catalog.current_setting('temp_file_limit'))
    END AS temp_file_limit_bytes,
    CASE WHEN pg_catalog.current_setting('max_slot_wal_keep_size') <> '-1'
        THEN pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_slot_wal_keep_size'))
    END AS max_slot_wal_keep_size_bytes,
    (
        SELECT s.spcname::pg_catalog.text
        FROM pg_catalog.pg_database AS d
        JOIN pg_catalog.pg_tablespace AS s ON s.oid = d.dattablespace
        WHERE d.datname = pg_catalog.current_database()
    ) AS dattablespace,
    pg_catalog.current_setting('default_tablespace') AS default_tablespace,
    pg_catalog.current_setting('temp_tablespaces') AS temp_tablespaces
