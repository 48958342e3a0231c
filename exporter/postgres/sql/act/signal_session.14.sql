-- Cancels the statement of a session, or ends the session: only if it is still the one that was seen, in the
-- same transaction. No row when it is not.
-- changes: ends a statement or a session of another role
-- privileges: pg_signal_backend, or the session's own role; of a superuser's session only a superuser; lock: none
SELECT CASE
    WHEN %(signal)s = 'terminate' THEN pg_catalog.pg_terminate_backend(a.pid)
    ELSE pg_catalog.pg_cancel_backend(a.pid)
END
FROM pg_catalog.pg_stat_activity AS a
WHERE a.pid = %(pid)s::pg_catalog.int4
    AND a.backend_start = %(backend_start)s::pg_catalog.timestamptz
    AND a.xact_start IS NOT DISTINCT FROM %(xact_start)s::pg_catalog.timestamptz
    AND a.backend_type = 'client backend'
    AND a.pid <> pg_catalog.pg_backend_pid()
