-- The canonical definition of each index of the given migrations, by the journal's latest event of it.
-- privileges: SELECT on migration_log; lock: AccessShareLock on it; cost: one pass over migration_events
SELECT
    l.name,
    l.index_name,
    l.definition
FROM {schema}.migration_log AS l
WHERE l.index_name IS NOT NULL
    AND l.definition IS NOT NULL
    AND l.name = ANY (%(names)s::pg_catalog.text[])
