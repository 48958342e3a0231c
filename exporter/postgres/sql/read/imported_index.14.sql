-- The name of the one index of an empty clone, and the tablespace where one was given.
-- privileges: none (own temporary table); lock: none; cost: one row
SELECT
    c.relname::pg_catalog.text AS indexname,
    s.spcname::pg_catalog.text AS tablespace
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
LEFT JOIN pg_catalog.pg_tablespace AS s ON s.oid = c.reltablespace
WHERE t.relnamespace = pg_catalog.pg_my_temp_schema() AND t.relname = %(relname)s
