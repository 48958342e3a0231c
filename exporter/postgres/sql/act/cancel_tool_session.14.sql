-- Cancels what a session of this tool works on, if it is still the one that was seen. No row when it is not.
-- changes: ends a build of this tool, which leaves its index INVALID
-- privileges: pg_signal_backend, or the session's own role; of a superuser's session only a superuser; lock: none
SELECT pg_catalog.pg_cancel_backend(a.pid)
FROM pg_catalog.pg_stat_activity AS a
WHERE a.pid = %(pid)s::pg_catalog.int4
    AND a.application_name = %(application_name)s
    AND a.pid <> pg_catalog.pg_backend_pid()
