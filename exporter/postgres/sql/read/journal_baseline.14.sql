-- The newest event of one kind, for one migration: of several baselines the last holds what is still good of all.
-- privileges: SELECT on migration_events; lock: AccessShareLock on it; cost: one pass over migration_events
SELECT name, index_name, phase, status, attempt, run, definition, detail, operator, at
FROM {schema}.migration_events
WHERE name = %(name)s AND phase = %(phase)s
ORDER BY id DESC
LIMIT 1
