-- Counters of every statement of this database, without its text, that is not known to be of no interest.
-- privileges: pg_read_all_stats; without it the statements of others come with queryid NULL
-- lock: the extension's own, shared; cost: one pass over its shared memory; the file of texts is not read
-- units: times in seconds (the view has milliseconds); blocks of 8 kB by default
SELECT
    pg_catalog.pg_get_userbyid(s.userid)::pg_catalog.text AS "user",
    s.queryid,
    s.toplevel,
    s.calls,
    s.total_exec_time / 1000.0::pg_catalog.float8 AS exec_seconds,
    s.total_plan_time / 1000.0::pg_catalog.float8 AS plan_seconds,
    s.rows,
    s.shared_blks_hit,
    s.shared_blks_read,
    s.shared_blks_dirtied,
    s.shared_blks_written,
    s.temp_blks_read,
    s.temp_blks_written
FROM {schema}.pg_stat_statements(false) AS s
WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
    AND (s.queryid IS NULL OR NOT s.queryid = ANY (%(rejected)s::pg_catalog.int8[]))
