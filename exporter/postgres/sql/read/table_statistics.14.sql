-- One row per table of a watched index and per table that a manifest names, with its counters.
-- unnest of several arrays is syntax, not a function of pg_catalog; search_path is pinned anyway.
-- privileges: none; lock: AccessShareLock on the catalogues only, never on the table
-- cost: one probe per table and per index of it
-- units: last_* in seconds since the epoch; the rest are counts and estimated rows
-- A partitioned table (relkind p) is not scanned itself: its scan and row counters are NULL, not 0.
WITH chosen AS (
    SELECT wanted.relid FROM pg_catalog.unnest(%(relids)s::pg_catalog.oid[]) AS wanted (relid)
    UNION
    SELECT c.oid
    FROM unnest(%(schemanames)s::pg_catalog.text[], %(relnames)s::pg_catalog.text[])
        AS declared (schemaname, relname)
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = declared.schemaname
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = declared.relname
)
SELECT
    c.oid AS relid,
    n.nspname AS schemaname,
    c.relname,
    CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_numscans(c.oid) END AS seq_scan,
    CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_tuples_returned(c.oid) END AS seq_tup_read,
    CASE WHEN c.relkind <> 'p' THEN (
        SELECT pg_catalog.sum(pg_catalog.pg_stat_get_numscans(i.indexrelid))::pg_catalog.int8
        FROM pg_catalog.pg_index AS i
        WHERE i.indrelid = c.oid
    ) END AS idx_scan,
    CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_tuples_inserted(c.oid) END AS n_tup_ins,
    CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_tuples_updated(c.oid) END AS n_tup_upd,
    CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_tuples_hot_updated(c.oid) END AS n_tup_hot_upd,
    CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_tuples_deleted(c.oid) END AS n_tup_del,
    CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_live_tuples(c.oid) END AS n_live_tup,
    CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_mod_since_analyze(c.oid) END AS n_mod_since_analyze,
    pg_catalog.date_part('epoch', pg_catalog.pg_stat_get_last_analyze_time(c.oid)) AS last_analyze,
    pg_catalog.date_part('epoch', pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid)) AS last_autoanalyze
FROM chosen
JOIN pg_catalog.pg_class AS c ON c.oid = chosen.relid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p', 't')
