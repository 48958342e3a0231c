-- Sessions that a concurrent build on one of the tables would wait for now, by the rules of the server: one row for each
-- session or prepared transaction and table that it locks, one for each session with a snapshot.
-- Locks that let a build pass (readers, SELECT FOR UPDATE) do not count, nor sessions of other databases, nor
-- the snapshots of VACUUM, nor idle transactions that hold neither. A waiting lock counts where it is strong
-- enough that the build queues behind it.
-- A concurrent drop waits for every lock on the table instead, readers too, and for no other snapshot.
-- units: seconds; relid is NULL for a snapshot, pid for a prepared transaction
-- privileges: pg_read_all_stats to see more of other roles' sessions than pid, user and application
-- lock: none; cost: pg_locks twice and pg_stat_activity once
WITH sessions AS MATERIALIZED (
    SELECT
        a.pid,
        a.usename::pg_catalog.text AS usename,
        a.application_name,
        a.backend_type,
        a.backend_start,
        a.xact_start,
        a.state,
        a.backend_xmin,
        pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.float8
            AS transaction_age_seconds,
        nullif(nullif(pg_catalog.left(a.query, 1000), ''), '<insufficient privilege>') AS query,
        CASE WHEN a.backend_type IS NOT NULL
            THEN a.backend_type = 'autovacuum worker' AND a.query ~ '\(to prevent wraparound\)$'
        END AS prevents_wraparound,
        -- Only leaders: they hold the snapshot of their workers.
        a.leader_pid IS NULL AS is_leader,
        EXISTS (
            SELECT FROM pg_catalog.pg_stat_progress_create_index AS b WHERE b.pid = a.pid
        ) AS builds_index
    FROM pg_catalog.pg_stat_activity AS a
    WHERE a.datid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
        AND a.pid <> pg_catalog.pg_backend_pid()
),

locks AS (
    SELECT DISTINCT ON (l.relation, l.pid, l.virtualtransaction)
        l.relation::pg_catalog.int8 AS relid,
        l.mode,
        l.granted,
        l.pid,
        l.virtualtransaction
    FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.unnest(ARRAY[
        'AccessShareLock', 'RowShareLock', 'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',
        'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'
    ]) WITH ORDINALITY AS strength (mode, rank) ON strength.mode = l.mode
    WHERE l.locktype = 'relation'
        AND l.database = (
            SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
        )
        AND l.relation::pg_catalog.int8 = ANY (%(relids)s::pg_catalog.int8[])
        AND (%(is_drop)s OR l.mode NOT IN ('AccessShareLock', 'RowShareLock'))
        AND (l.granted OR l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))
        AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
    ORDER BY l.relation, l.pid, l.virtualtransaction, l.granted DESC, strength.rank DESC
)

SELECT
    CASE WHEN l.pid IS NULL THEN 'prepared' ELSE 'lock' END AS kind,
    l.relid,
    l.mode,
    l.granted,
    l.pid,
    x.gid,
    coalesce(s.usename, x.owner::pg_catalog.text) AS usename,
    s.application_name,
    s.backend_type,
    s.state,
    coalesce(
        s.transaction_age_seconds,
        pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - x.prepared)::pg_catalog.float8
    ) AS transaction_age_seconds,
    s.query,
    s.prevents_wraparound,
    coalesce(s.builds_index, false) AS builds_index,
    s.backend_start,
    s.xact_start
FROM locks AS l
LEFT JOIN sessions AS s ON s.pid = l.pid
LEFT JOIN pg_catalog.pg_locks AS t
    ON l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' AND t.virtualtransaction = l.virtualtransaction
LEFT JOIN pg_catalog.pg_prepared_xacts AS x ON x.transaction = t.transactionid
UNION ALL
SELECT
    'snapshot', NULL, NULL, NULL,
    s.pid, NULL, s.usename, s.application_name, s.backend_type, s.state, s.transaction_age_seconds, s.query,
    s.prevents_wraparound, s.builds_index, s.backend_start, s.xact_start
FROM sessions AS s
WHERE NOT %(is_drop)s
    AND s.backend_xmin IS NOT NULL
    AND s.is_leader
    AND s.backend_type IS DISTINCT FROM 'autovacuum worker'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum AS v WHERE v.pid = s.pid)
    AND NOT EXISTS (SELECT FROM locks AS l WHERE l.pid = s.pid)
ORDER BY transaction_age_seconds DESC NULLS LAST
