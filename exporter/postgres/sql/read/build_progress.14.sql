-- Builds that run in this database, each with the sessions that it waits for and those that queue behind it: a
-- row for every such pair, or one row whose other_role is NULL.
-- The parameter pids adds processes without progress: they queue for their table, drop or analyze.
-- The sessions that a build waits for come from the lock manager: current_locker_pid is wrong for a prepared transaction,
-- whose place another session may have taken.
-- A build that is not concurrent names no index until it ends: index_relid is 0, indexname and amname NULL.
-- units: seconds; ancestors are the oids of the partitioned tables that the table is a partition of
-- privileges: pg_read_all_stats to see builds of other roles; lock: none
-- cost: one row a build; where one runs pg_locks once, and for one that waits pg_blocking_pids
WITH watched AS (
    SELECT p.pid
    FROM pg_catalog.pg_stat_progress_create_index AS p
    WHERE p.datname = pg_catalog.current_database()
    UNION
    SELECT pg_catalog.unnest(%(pids)s::pg_catalog.int4[])
),

sessions AS MATERIALIZED (
    SELECT
        a.pid,
        a.usename::pg_catalog.text AS usename,
        a.application_name,
        a.backend_type,
        a.backend_start,
        a.xact_start,
        a.state,
        a.wait_event_type,
        a.backend_xmin IS NOT NULL AS has_snapshot,
        nullif(nullif(pg_catalog.left(a.query, 1000), ''), '<insufficient privilege>') AS query,
        pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.float8
            AS transaction_age_seconds,
        a.backend_type = 'autovacuum worker' AND a.query ~ '\(to prevent wraparound\)$' AS prevents_wraparound
    FROM pg_catalog.pg_stat_activity AS a
),

builds AS MATERIALIZED (
    SELECT
        w.pid,
        p.relid::pg_catalog.int8 AS relid,
        p.index_relid::pg_catalog.int8 AS index_relid,
        s.application_name,
        s.usename,
        p.command,
        p.phase,
        p.lockers_total, p.lockers_done,
        p.blocks_total, p.blocks_done,
        p.tuples_total, p.tuples_done,
        x.relname::pg_catalog.text AS indexname,
        m.amname::pg_catalog.text AS amname,
        ARRAY(
            SELECT n.relid::pg_catalog.oid::pg_catalog.int8
            FROM pg_catalog.pg_partition_ancestors(p.relid) AS n (relid)
            WHERE n.relid <> p.relid
        ) AS ancestors,
        CASE WHEN s.wait_event_type = 'Lock' THEN pg_catalog.pg_blocking_pids(w.pid) END AS blocking_pids
    FROM watched AS w
    LEFT JOIN pg_catalog.pg_stat_progress_create_index AS p ON p.pid = w.pid
    LEFT JOIN sessions AS s ON s.pid = w.pid
    LEFT JOIN pg_catalog.pg_class AS x ON x.oid = p.index_relid
    LEFT JOIN pg_catalog.pg_am AS m ON m.oid = x.relam
    WHERE p.pid IS NOT NULL OR s.pid IS NOT NULL
),

locks AS MATERIALIZED (
    SELECT l.locktype, l.database, l.relation, l.virtualxid, l.transactionid, l.virtualtransaction, l.pid, l.mode,
        l.granted,
        pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - l.waitstart)::pg_catalog.float8
            AS waiting_seconds
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype IN ('relation', 'virtualxid', 'transactionid')
        AND (
            l.database IS NULL
            OR l.database = (
                SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
            )
        )
),

-- What the builds hold that others may have to wait for, and what they themselves want.
targets AS MATERIALIZED (
    SELECT DISTINCT
        l.pid AS build_pid, l.granted, l.locktype, l.relation, l.virtualxid, l.transactionid, l.waiting_seconds
    FROM locks AS l
    JOIN builds AS b ON b.pid = l.pid
    WHERE NOT l.granted
        OR l.locktype <> 'relation'
        OR l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
),

others AS (
    SELECT DISTINCT ON (b.pid, blocking.pid)
        b.pid AS build_pid,
        'blocker' AS role,
        blocking.pid,
        NULL::pg_catalog.text AS gid,
        NULL::pg_catalog.text AS usename,
        NULL::pg_catalog.text AS mode,
        NULL::pg_catalog.float8 AS transaction_age_seconds,
        NULL::pg_catalog.float8 AS waiting_seconds
    FROM builds AS b
    CROSS JOIN pg_catalog.unnest(b.blocking_pids) AS blocking (pid)
    WHERE blocking.pid <> 0
    UNION ALL
    -- The lock manager knows prepared transactions by the process number 0.
    SELECT DISTINCT
        b.pid, 'blocker', NULL::pg_catalog.int4, x.gid, x.owner::pg_catalog.text, l.mode,
        pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - x.prepared)::pg_catalog.float8, NULL::pg_catalog.float8
    FROM builds AS b
    JOIN targets AS t ON t.build_pid = b.pid AND t.locktype = 'relation'
    JOIN locks AS l
        ON l.pid IS NULL AND l.relation = t.relation AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
    JOIN locks AS i
        ON i.pid IS NULL AND i.virtualtransaction = l.virtualtransaction AND i.locktype = 'transactionid'
    JOIN pg_catalog.pg_prepared_xacts AS x ON x.transaction = i.transactionid
    WHERE 0 = ANY (b.blocking_pids)
    UNION ALL
    SELECT DISTINCT ON (t.build_pid, l.pid)
        t.build_pid, 'waiter', l.pid, NULL, NULL, l.mode, NULL::pg_catalog.float8, l.waiting_seconds
    FROM targets AS t
    JOIN locks AS l
        ON NOT l.granted AND l.pid <> t.build_pid AND l.locktype = t.locktype
        AND (
            l.relation = t.relation OR l.virtualxid = t.virtualxid OR l.transactionid = t.transactionid
        )
    WHERE t.granted
)

SELECT
    b.pid,
    b.relid,
    b.index_relid,
    b.application_name,
    b.usename,
    b.command,
    b.phase,
    b.lockers_total, b.lockers_done,
    b.blocks_total, b.blocks_done,
    b.tuples_total, b.tuples_done,
    b.indexname,
    b.amname,
    b.ancestors,
    (
        SELECT pg_catalog.max(t.waiting_seconds) FROM targets AS t WHERE t.build_pid = b.pid AND NOT t.granted
    ) AS waiting_seconds,
    o.role AS other_role,
    o.pid AS other_pid,
    o.gid AS other_gid,
    coalesce(o.usename, s.usename) AS other_usename,
    s.application_name AS other_application_name,
    s.backend_type AS other_backend_type,
    s.state AS other_state,
    o.mode AS other_mode,
    s.has_snapshot AS other_has_snapshot,
    s.prevents_wraparound AS other_prevents_wraparound,
    coalesce(o.transaction_age_seconds, s.transaction_age_seconds) AS other_transaction_age_seconds,
    o.waiting_seconds AS other_waiting_seconds,
    s.backend_start AS other_backend_start,
    s.xact_start AS other_xact_start,
    s.query AS other_query
FROM builds AS b
LEFT JOIN others AS o ON o.build_pid = b.pid
LEFT JOIN sessions AS s ON s.pid = o.pid
ORDER BY b.pid, other_transaction_age_seconds DESC NULLS LAST, other_waiting_seconds DESC NULLS LAST
