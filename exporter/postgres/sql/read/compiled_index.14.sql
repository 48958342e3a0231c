-- The one index of an empty clone, as pg_get_indexdef would show it on the table that was cloned.
-- privileges: none (own temporary table); lock: AccessShareLock on the clone; cost: one row
SELECT
    pg_catalog.concat(
        'CREATE ', CASE WHEN d.indisunique THEN 'UNIQUE ' END,
        'INDEX ', pg_catalog.quote_ident(d.indexname), ' ON ',
        pg_catalog.quote_ident(%(schemaname)s), '.', pg_catalog.quote_ident(d.relname), ' ', d.nature
    ) AS definition,
    d.indisunique,
    d.nature
FROM (
    SELECT
        c.relname AS indexname,
        t.relname,
        i.indisunique,
        pg_catalog.substr(
            pg_catalog.pg_get_indexdef(i.indexrelid),
            pg_catalog.length(pg_catalog.concat(
                'CREATE ', CASE WHEN i.indisunique THEN 'UNIQUE ' END,
                'INDEX ', pg_catalog.quote_ident(c.relname), ' ON ',
                -- 14 shows the session's own schema, 15 and newer its alias.
                CASE
                    WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 150000
                        THEN pg_catalog.quote_ident(n.nspname)
                    ELSE 'pg_temp'
                END,
                '.', pg_catalog.quote_ident(t.relname), ' '
            )) + CASE WHEN t.relkind = 'p' THEN 6 ELSE 1 END
        ) AS nature
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
    WHERE t.relnamespace = pg_catalog.pg_my_temp_schema() AND t.relname = %(relname)s
) AS d
