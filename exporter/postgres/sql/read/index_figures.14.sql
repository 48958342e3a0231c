-- The figures of all watched indexes, one row of arrays: the n-th element of each belongs to the n-th index.
-- unnest of several arrays is syntax, not a function of pg_catalog; search_path is pinned anyway.
-- privileges: none; lock: AccessShareLock on the catalogues only, never on an index or its table;
-- cost: one pass over pg_class and pg_index, two microseconds an index; a tenth of what as many rows cost
-- units: last_idx_scan in seconds since the epoch, NULL before PostgreSQL 16; the rest are counts
-- `fingerprint` changes with whatever index_identities says of these indexes: their catalogue rows, those of
-- their tables, schemas and constraints, and the declared indexes that they are leaves of.
-- A partitioned index (relkind I) has no storage and no counters: they are NULL, not 0. A declared one brings
-- its leaves along, through all levels.
WITH RECURSIVE declared AS (
    SELECT c.oid, c.relkind
    FROM unnest(%(schemanames)s::pg_catalog.text[], %(indexnames)s::pg_catalog.text[])
        AS named (schemaname, indexname)
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = named.schemaname
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = named.indexname
    WHERE c.relkind IN ('i', 'I')
),
partitions (oid, parent) AS (
    SELECT h.inhrelid, d.oid
    FROM declared AS d
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = d.oid
    WHERE d.relkind = 'I'
    UNION
    SELECT h.inhrelid, p.parent
    FROM partitions AS p
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = p.oid
),
named AS (
    SELECT d.oid FROM declared AS d
    UNION
    SELECT p.oid
    FROM partitions AS p
    JOIN pg_catalog.pg_class AS c ON c.oid = p.oid
    WHERE c.relkind = 'i'
),
watched AS (
    SELECT c.oid, c.relkind, c.xmin AS version
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE %(watch)s
        AND c.relkind IN ('i', 'I')
        AND c.relpersistence <> 't'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        AND (
            %(pattern)s::pg_catalog.text IS NULL
            OR n.nspname || '.' || c.relname ~ %(pattern)s::pg_catalog.text COLLATE "C"
        )
        AND NOT EXISTS (SELECT FROM named WHERE named.oid = c.oid)
    ORDER BY c.oid
    LIMIT %(max_indexes)s
),
chosen AS (
    SELECT c.oid, c.relkind, c.xmin AS version
    FROM named
    JOIN pg_catalog.pg_class AS c ON c.oid = named.oid
    UNION ALL
    SELECT watched.oid, watched.relkind, watched.version FROM watched
)
SELECT
    pg_catalog.array_agg(i.indexrelid) AS oids,
    ARRAY[
        pg_catalog.hash_array_extended(pg_catalog.array_agg(i.xmin), 0),
        pg_catalog.hash_array_extended(pg_catalog.array_agg(c.version), 0),
        pg_catalog.hash_array_extended(pg_catalog.array_agg(t.xmin), 0),
        (
            SELECT pg_catalog.hash_array_extended(pg_catalog.array_agg(n.xmin ORDER BY n.oid), 0)
            FROM pg_catalog.pg_namespace AS n
        ),
        (
            SELECT pg_catalog.hash_array_extended(
                pg_catalog.array_agg(con.oid ORDER BY con.oid)
                || pg_catalog.array_agg(con.conindid ORDER BY con.oid), 0
            )
            FROM pg_catalog.pg_constraint AS con
            WHERE con.contype IN ('p', 'u', 'x')
        ),
        (
            SELECT pg_catalog.hash_array_extended(
                pg_catalog.array_agg(p.oid ORDER BY p.oid, p.parent)
                || pg_catalog.array_agg(p.parent ORDER BY p.oid, p.parent), 0
            )
            FROM partitions AS p
        )
    ] AS fingerprint,
    pg_catalog.array_agg(CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_stat_get_numscans(c.oid) END)
        AS idx_scan,
    pg_catalog.array_agg(CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_stat_get_tuples_returned(c.oid) END)
        AS idx_tup_read,
    pg_catalog.array_agg(CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_stat_get_tuples_fetched(c.oid) END)
        AS idx_tup_fetch,
    pg_catalog.array_agg(NULL::pg_catalog.float8)  -- before 16
    pg_catalog.array_agg(pg_catalog.date_part('epoch', pg_catalog.pg_stat_get_lastscan(c.oid)))  -- from 16
        AS last_idx_scan,
    pg_catalog.array_agg(
        CASE WHEN c.relkind = 'i'
            THEN pg_catalog.pg_stat_get_blocks_fetched(c.oid) - pg_catalog.pg_stat_get_blocks_hit(c.oid)
        END
    ) AS idx_blks_read,
    pg_catalog.array_agg(CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_stat_get_blocks_hit(c.oid) END)
        AS idx_blks_hit
FROM chosen AS c
JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
