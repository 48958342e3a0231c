-- One declared index and its table after a build; index columns are NULL where it does not exist.
-- privileges: none; lock: AccessShareLock on the catalogues only, never on the index or its table; cost: constant
-- units: table_last_analyze is the later of ANALYZE and autoanalyze, NULL when neither is remembered;
-- proven_columns are those of `column_names` that cannot hold NULL
-- PostgreSQL 18 sets attnotnull for NOT NULL constraints that are not validated too; older ones have none in
-- pg_constraint.
SELECT
    i.indisvalid,
    i.indisready,
    GREATEST(
        pg_catalog.pg_stat_get_last_analyze_time(t.oid),
        pg_catalog.pg_stat_get_last_autoanalyze_time(t.oid)
    ) AS table_last_analyze,
    ARRAY(
        SELECT a.attname::pg_catalog.text
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = t.oid
            AND a.attname = ANY (%(column_names)s::pg_catalog.text[])
            AND a.attnotnull
            AND NOT EXISTS (
                SELECT
                FROM pg_catalog.pg_constraint AS c
                WHERE c.conrelid = t.oid
                    AND c.contype = 'n'
                    AND NOT c.convalidated
                    AND c.conkey[1] = a.attnum
            )
    ) AS proven_columns
FROM pg_catalog.pg_class AS t
LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = t.oid AND i.indexrelid = %(indexrelid)s
WHERE t.oid = %(relid)s
