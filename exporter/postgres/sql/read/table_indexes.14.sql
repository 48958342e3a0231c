-- Every index of one table with its definition; `nature` is the definition without the names in it.
-- privileges: none; lock: AccessShareLock on the table (pg_get_indexdef); cost: one row an index
SELECT
    i.indexrelid::pg_catalog.int8 AS indexrelid,
    c.relname::pg_catalog.text AS indexname,
    i.indisvalid,
    i.indisready,
    i.indislive,
    i.indisunique,
    pg_catalog.pg_get_indexdef(i.indexrelid) AS definition,
    pg_catalog.substr(
        pg_catalog.pg_get_indexdef(i.indexrelid),
        pg_catalog.length(pg_catalog.concat(
            'CREATE ', CASE WHEN i.indisunique THEN 'UNIQUE ' END,
            'INDEX ', pg_catalog.quote_ident(c.relname),
            ' ON ', CASE WHEN t.relkind = 'p' THEN 'ONLY ' END,
            pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(t.relname), ' '
        )) + 1
    ) AS nature,
    s.spcname::pg_catalog.text AS tablespace
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
-- 0 is the tablespace of the database.
LEFT JOIN pg_catalog.pg_tablespace AS s
    ON s.oid = CASE WHEN c.reltablespace = 0 THEN d.dattablespace ELSE c.reltablespace END
WHERE i.indrelid = %(relid)s::pg_catalog.oid
ORDER BY c.relname
