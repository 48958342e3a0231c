-- The indexes that this migration attached to one of its own, or began to, and that existed before: dropping
-- what it made would drop them too.
-- privileges: SELECT on migration_events; lock: AccessShareLock on it; cost: one pass over migration_events
SELECT DISTINCT
    m.detail ->> 'schemaname' AS schemaname,
    m.index_name AS relname
FROM {schema}.migration_events AS m
WHERE m.name = %(name)s
    AND m.phase = 'attached'
    AND m.detail ->> 'schemaname' IS NOT NULL
    AND (m.detail -> 'stood_before')::pg_catalog.bool
