-- How many standbys and other receivers are connected, one row.
-- privileges: none for the count; lock: none; cost: one pass over the WAL senders
-- units: connections
SELECT pg_catalog.count(*) AS walsenders
FROM pg_catalog.pg_stat_get_wal_senders()
