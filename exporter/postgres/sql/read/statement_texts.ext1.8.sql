-- The text of each given statement of this database.
-- privileges: pg_read_all_stats
-- lock: the extension's own, shared; cost: the server reads its whole file of texts, which can be many
-- megabytes; asked only when a queryid appears that was not seen before
SELECT DISTINCT ON (s.queryid)
    s.queryid,
    s.query
FROM {schema}.pg_stat_statements(true) AS s
WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
    AND s.queryid = ANY (%(queryids)s::pg_catalog.int8[])
ORDER BY s.queryid, s.userid
