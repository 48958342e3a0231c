-- INVALID indexes that this migration left under another name, because their table was locked, and that
-- still exist: known by the oid and the name that the journal has.
-- privileges: SELECT on migration_events; lock: AccessShareLock on it; cost: one pass over migration_events
SELECT DISTINCT
    c.oid::pg_catalog.int8 AS indexrelid,
    c.relname::pg_catalog.text AS indexname,
    n.nspname::pg_catalog.text AS schemaname,
    t.relname::pg_catalog.text AS relname,
    e.detail ->> 'renamed_from' AS renamed_from
FROM {schema}.migration_events AS e
JOIN pg_catalog.pg_class AS c
    ON c.oid = (e.detail ->> 'indexrelid')::pg_catalog.int8::pg_catalog.oid AND c.relname = e.index_name
JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid AND NOT i.indisvalid
JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
WHERE e.name = %(name)s
    AND e.phase = 'cleanup'
    AND e.detail ->> 'renamed_from' IS NOT NULL
ORDER BY indexname
