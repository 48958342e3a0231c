-- The figures of every table of a watched index and of every table that a manifest names, one row of arrays: the
-- n-th element of each belongs to the n-th table.
-- unnest of several arrays is syntax, not a function of pg_catalog; search_path is pinned anyway.
-- privileges: none; lock: AccessShareLock on the catalogues only, never on a table
-- cost: one probe per table and per index of it
-- units: last_* in seconds since the epoch; the rest are counts and estimated rows
-- `fingerprint` changes with whatever table_identities says of these tables.
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
    pg_catalog.array_agg(c.oid) AS oids,
    ARRAY[
        pg_catalog.hash_array_extended(pg_catalog.array_agg(c.xmin), 0),
        (
            SELECT pg_catalog.hash_array_extended(pg_catalog.array_agg(n.xmin ORDER BY n.oid), 0)
            FROM pg_catalog.pg_namespace AS n
        )
    ] AS fingerprint,
    pg_catalog.array_agg(CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_numscans(c.oid) END)
        AS seq_scan,
    pg_catalog.array_agg(CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_tuples_returned(c.oid) END)
        AS seq_tup_read,
    pg_catalog.array_agg(
        CASE WHEN c.relkind <> 'p' THEN (
            SELECT pg_catalog.sum(pg_catalog.pg_stat_get_numscans(i.indexrelid))::pg_catalog.int8
            FROM pg_catalog.pg_index AS i
            WHERE i.indrelid = c.oid
        ) END
    ) AS idx_scan,
    pg_catalog.array_agg(CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_tuples_inserted(c.oid) END)
        AS n_tup_ins,
    pg_catalog.array_agg(CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_tuples_updated(c.oid) END)
        AS n_tup_upd,
    pg_catalog.array_agg(CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_tuples_hot_updated(c.oid) END)
        AS n_tup_hot_upd,
    pg_catalog.array_agg(CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_tuples_deleted(c.oid) END)
        AS n_tup_del,
    pg_catalog.array_agg(CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_live_tuples(c.oid) END)
        AS n_live_tup,
    pg_catalog.array_agg(CASE WHEN c.relkind <> 'p' THEN pg_catalog.pg_stat_get_mod_since_analyze(c.oid) END)
        AS n_mod_since_analyze,
    pg_catalog.array_agg(pg_catalog.date_part('epoch', pg_catalog.pg_stat_get_last_analyze_time(c.oid)))
        AS last_analyze,
    pg_catalog.array_agg(pg_catalog.date_part('epoch', pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid)))
        AS last_autoanalyze
FROM chosen
JOIN pg_catalog.pg_class AS c ON c.oid = chosen.relid
WHERE c.relkind IN ('r', 'm', 'p', 't')
