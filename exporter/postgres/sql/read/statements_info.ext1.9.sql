-- How often pg_stat_statements evicted entries and when it was last reset, one row.
-- privileges: none; lock: the extension's own, shared; cost: constant
-- units: stats_reset in seconds since the epoch
SELECT
    s.dealloc,
    pg_catalog.date_part('epoch', s.stats_reset) AS stats_reset
FROM {schema}.pg_stat_statements_info() AS s
