-- The indexes of one migration that it created itself, or began to, with their definitions.
-- A build that failed and was cleaned up is forgotten: whatever bears the name later is not ours.
-- privileges: SELECT on migration_events; lock: AccessShareLock on it; cost: one pass over migration_events
SELECT index_name, phase, definition, run, at
FROM (
    SELECT DISTINCT ON (index_name)
        index_name, phase, status, definition, run, at
    FROM {schema}.migration_events
    WHERE name = %(name)s AND index_name IS NOT NULL AND phase IN ('building', 'catalog_ok', 'dropped')
    ORDER BY index_name, id DESC
) AS latest
WHERE NOT (phase = 'building' AND status = 'failed')
