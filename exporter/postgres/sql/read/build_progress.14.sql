-- Builds that run in this database, with the session that each of them waits for.
-- A build that is not concurrent names no index until it ends: index_relid is 0 and indexname NULL.
-- units: ancestors are the oids of the partitioned tables that the table is a partition of
-- privileges: pg_read_all_stats to see builds of other roles; lock: none; cost: one row a build
SELECT
    p.pid,
    p.relid::pg_catalog.int8 AS relid,
    p.index_relid::pg_catalog.int8 AS index_relid,
    a.application_name,
    a.usename::pg_catalog.text AS usename,
    p.command,
    p.phase,
    p.lockers_total, p.lockers_done, p.current_locker_pid,
    p.blocks_total, p.blocks_done,
    p.tuples_total, p.tuples_done,
    l.application_name AS locker_application_name,
    l.usename::pg_catalog.text AS locker_usename,
    l.state AS locker_state,
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - l.xact_start)::pg_catalog.float8
        AS locker_transaction_age_seconds,
    x.relname::pg_catalog.text AS indexname,
    ARRAY(
        SELECT n.relid::pg_catalog.oid::pg_catalog.int8
        FROM pg_catalog.pg_partition_ancestors(p.relid) AS n (relid)
        WHERE n.relid <> p.relid
    ) AS ancestors
FROM pg_catalog.pg_stat_progress_create_index AS p
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = p.pid
LEFT JOIN pg_catalog.pg_stat_activity AS l ON l.pid = p.current_locker_pid
LEFT JOIN pg_catalog.pg_class AS x ON x.oid = p.index_relid
WHERE p.datname = pg_catalog.current_database()
