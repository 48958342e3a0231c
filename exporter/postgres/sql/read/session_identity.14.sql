-- Which server process answers, and what of the session it still knows: NULL if unknown.
-- privileges: none; lock: none; cost: constant
SELECT
    pg_catalog.pg_backend_pid() AS backend_pid,
    pg_catalog.current_setting('pg_index_exporter.session', true) AS token
