-- What the server says of itself, one row.
-- privileges: none (pg_control_system() is executable by everybody)
-- lock: AccessShareLock on pg_extension; cost: constant
-- units: system_identifier as text, because it exceeds a float's 53 bits
SELECT
    pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS server_version_num,
    pg_catalog.current_setting('server_version') AS server_version,
    (SELECT s.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() AS s) AS system_identifier,
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    (SELECT e.extversion FROM pg_catalog.pg_extension AS e WHERE e.extname = 'pg_stat_statements')
        AS statements_version
