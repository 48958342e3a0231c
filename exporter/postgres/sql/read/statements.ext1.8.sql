-- Counters of every statement of this database, without its text, that is not known to be of no interest.
-- Version 1.8 does not tell top-level statements from those inside functions: toplevel is NULL. The server keeps
-- them apart all the same, in two rows that look alike: they are added up.
-- privileges: pg_read_all_stats; without it the statements of others come with queryid NULL
-- lock: the extension's own, shared; cost: one pass over its shared memory; the file of texts is not read
-- units: times in seconds (the view has milliseconds); blocks of 8 kB by default
SELECT
    pg_catalog.pg_get_userbyid(s.userid)::pg_catalog.text AS "user",
    s.queryid,
    NULL::pg_catalog.bool AS toplevel,
    pg_catalog.sum(s.calls)::pg_catalog.int8 AS calls,
    pg_catalog.sum(s.total_exec_time) / 1000.0::pg_catalog.float8 AS exec_seconds,
    pg_catalog.sum(s.total_plan_time) / 1000.0::pg_catalog.float8 AS plan_seconds,
    pg_catalog.sum(s.rows)::pg_catalog.int8 AS rows,
    pg_catalog.sum(s.shared_blks_hit)::pg_catalog.int8 AS shared_blks_hit,
    pg_catalog.sum(s.shared_blks_read)::pg_catalog.int8 AS shared_blks_read,
    pg_catalog.sum(s.shared_blks_dirtied)::pg_catalog.int8 AS shared_blks_dirtied,
    pg_catalog.sum(s.shared_blks_written)::pg_catalog.int8 AS shared_blks_written,
    pg_catalog.sum(s.temp_blks_read)::pg_catalog.int8 AS temp_blks_read,
    pg_catalog.sum(s.temp_blks_written)::pg_catalog.int8 AS temp_blks_written
FROM {schema}.pg_stat_statements(false) AS s
WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
    AND (s.queryid IS NULL OR NOT s.queryid = ANY (%(rejected)s::pg_catalog.int8[]))
GROUP BY s.userid, s.queryid
