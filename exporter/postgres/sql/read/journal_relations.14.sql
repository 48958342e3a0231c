-- The relations that have the names of the journal, with their columns in order.
-- Others may create in the journal's schema too. Only a plain table is read without running its owner's code (a
-- view's functions, a policy's, a cast's), and only one of an owner we trust anyway is written to.
-- privileges: none; lock: AccessShareLock on catalogues; cost: two rows at most
SELECT
    c.relname::pg_catalog.text AS relname,
    c.relkind::pg_catalog.text AS relkind,
    pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum) AS column_names,
    pg_catalog.has_table_privilege(c.oid, 'SELECT') AS may_select,
    c.relkind = 'r'
        AND NOT c.relrowsecurity
        AND NOT c.relhasrules
        AND pg_catalog.bool_and(t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace) AS is_plain_table,
    o.rolname::pg_catalog.text AS owner_name,
    o.rolsuper OR d.datdba = c.relowner OR pg_catalog.pg_has_role(c.relowner, 'MEMBER') AS has_trusted_owner
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE n.nspname = %(schemaname)s AND c.relname IN ('migration_events', 'migration_log')
GROUP BY c.oid, c.relname, c.relkind, c.relrowsecurity, c.relhasrules, c.relowner, o.rolname, o.rolsuper, d.datdba
