-- What the one index of an empty clone keeps of a row, each column and expression as SQL over the table.
-- Of a collation by which different texts can be equal the expression says so.
-- privileges: none (own temporary table); lock: AccessShareLock on the clone; cost: one row
SELECT
    m.amname::pg_catalog.text AS method,
    i.indisunique AS is_unique,
    ARRAY(
        SELECT pg_catalog.concat(
            pg_catalog.pg_get_indexdef(i.indexrelid, k.number::pg_catalog.int4, false),
            (
                SELECT ' COLLATE ' || pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(l.collname)
                FROM pg_catalog.pg_collation AS l
                JOIN pg_catalog.pg_namespace AS cn ON cn.oid = l.collnamespace
                WHERE l.oid = i.indcollation[k.number - 1] AND NOT l.collisdeterministic
            )
        )
        FROM pg_catalog.generate_series(1, i.indnkeyatts) AS k (number)
        ORDER BY k.number
    ) AS keys,
    ARRAY(
        SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k.number, false)
        FROM pg_catalog.generate_series(i.indnkeyatts + 1, i.indnatts) AS k (number)
        ORDER BY k.number
    ) AS included,
    pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS predicate,
    (
        SELECT o.option_value::pg_catalog.float8
        FROM pg_catalog.pg_options_to_table(c.reloptions) AS o
        WHERE o.option_name = 'fillfactor'
    ) AS fillfactor,
    (
        SELECT o.option_value::pg_catalog.int8
        FROM pg_catalog.pg_options_to_table(c.reloptions) AS o
        WHERE o.option_name = 'pages_per_range'
    ) AS pages_per_range,
    pg_catalog.current_setting('block_size')::pg_catalog.int8 AS block_bytes
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
WHERE t.relnamespace = pg_catalog.pg_my_temp_schema() AND t.relname = %(relname)s
