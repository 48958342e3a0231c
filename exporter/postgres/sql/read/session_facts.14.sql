-- What the current session may do before anything is built, one row.
-- privileges: none; lock: none; cost: constant
SELECT
    pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS server_version_num,
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool AS read_only,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY') AS may_create_temporary,
    pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS may_read_all_stats,
    pg_catalog.current_setting('track_counts')::pg_catalog.bool AS track_counts,
    pg_catalog.pg_backend_pid() AS backend_pid,
    CURRENT_USER::pg_catalog.text AS usename
