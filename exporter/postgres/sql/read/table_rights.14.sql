-- What the current role may do with each given table that exists.
-- unnest of several arrays is syntax, not a function of pg_catalog; search_path is pinned anyway.
-- privileges: none; lock: AccessShareLock on catalogues; cost: one probe per table
SELECT
    n.nspname::pg_catalog.text AS schemaname,
    c.relname::pg_catalog.text AS relname,
    pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_use_schema,
    pg_catalog.has_table_privilege(c.oid, 'SELECT') AS may_select
FROM unnest(%(schemanames)s::pg_catalog.text[], %(relnames)s::pg_catalog.text[])
    AS wanted (schemaname, relname)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schemaname
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.relname
WHERE c.relkind IN ('r', 'm', 'p')
