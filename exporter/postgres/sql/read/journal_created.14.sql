-- The indexes of one migration that it created itself and did not drop since, with their definitions.
-- privileges: SELECT on migration_events; lock: AccessShareLock on it; cost: one pass over migration_events
SELECT DISTINCT ON (index_name)
    index_name, phase, definition, run, at
FROM {schema}.migration_events
WHERE name = %(name)s AND index_name IS NOT NULL AND phase IN ('building', 'catalog_ok', 'dropped')
ORDER BY index_name, id DESC
