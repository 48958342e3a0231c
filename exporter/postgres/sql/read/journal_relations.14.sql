-- The relations that bear the journal's names, with their columns in order.
-- privileges: none; lock: AccessShareLock on catalogues; cost: two rows at most
SELECT
    c.relname::pg_catalog.text AS relname,
    c.relkind::pg_catalog.text AS relkind,
    pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum) AS column_names,
    pg_catalog.has_table_privilege(c.oid, 'SELECT') AS may_select
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = %(schemaname)s AND c.relname IN ('migration_events', 'migration_log')
GROUP BY c.oid, c.relname, c.relkind
