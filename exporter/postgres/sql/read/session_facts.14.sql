-- What the current session may do before anything is built, one row.
-- read_only_default is what a session starts with; read_only_of_role is true if only this role has it.
-- privileges: none; lock: AccessShareLock on catalogues; cost: one pass over the settings
SELECT
    pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS server_version_num,
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool AS read_only,
    (
        SELECT s.reset_val = 'on'
        FROM pg_catalog.pg_settings AS s
        WHERE s.name = 'default_transaction_read_only'
    ) AS read_only_default,
    EXISTS (
        SELECT
        FROM pg_catalog.pg_db_role_setting AS s
        JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
        CROSS JOIN pg_catalog.unnest(s.setconfig) AS c (setting)
        WHERE r.rolname = CURRENT_USER AND c.setting ~ '^default_transaction_read_only='
    ) AS read_only_of_role,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY') AS may_create_temporary,
    pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS may_read_all_stats,
    pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS may_signal_backend,
    (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER)  -- before 15
    pg_catalog.has_parameter_privilege('deadlock_timeout', 'SET')  -- from 15
        AS may_set_deadlock_timeout,
    pg_catalog.current_setting('track_counts')::pg_catalog.bool AS track_counts,
    pg_catalog.pg_backend_pid() AS backend_pid,
    CURRENT_USER::pg_catalog.text AS usename
