-- One row per given index: who it is and in which state.
-- unnest of several arrays is syntax, not a function of pg_catalog; search_path is pinned anyway.
-- privileges: none; lock: AccessShareLock on the catalogues only, never on the index or its table;
-- cost: microseconds an index; asked only when the fingerprint of index_figures changed
-- units: none
-- `parents` are the oids of the declared partitioned indexes that a leaf belongs to, through all levels.
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
leaves AS (
    SELECT p.oid, pg_catalog.array_agg(p.parent::pg_catalog.int8) AS parents
    FROM partitions AS p
    JOIN pg_catalog.pg_class AS c ON c.oid = p.oid
    WHERE c.relkind = 'i'
    GROUP BY p.oid
)
SELECT
    i.indexrelid,
    i.indrelid AS relid,
    n.nspname AS schemaname,
    t.relname,
    c.relname AS indexname,
    i.indisvalid,
    i.indisready,
    a.amname AS method,
    i.indisunique,
    i.indisprimary,
    con.contype::pg_catalog.text AS contype,
    i.indpred IS NOT NULL AS is_partial,
    i.indexprs IS NOT NULL AS is_expression,
    i.xmin::pg_catalog.text || '/' || c.xmin::pg_catalog.text AS catalogue_version,
    leaves.parents
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_am AS a ON a.oid = c.relam
LEFT JOIN pg_catalog.pg_constraint AS con
    ON con.conrelid = i.indrelid AND con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x')
LEFT JOIN leaves ON leaves.oid = i.indexrelid
WHERE i.indexrelid = ANY (%(indexrelids)s::pg_catalog.oid[])
