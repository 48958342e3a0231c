-- Since when sessions work on their statements; one row for each process that is there and may be seen.
-- privileges: pg_read_all_stats to see those of other roles; lock: none; cost: pg_stat_activity once
SELECT
    a.pid,
    a.query_start
FROM pg_catalog.pg_stat_activity AS a
WHERE a.pid = ANY (%(pids)s::pg_catalog.int4[])
