-- The oldest event of one kind that carries a detail, for one migration: the baseline kept before a build.
-- privileges: SELECT on migration_events; lock: AccessShareLock on it; cost: one pass over migration_events
SELECT name, index_name, phase, status, attempt, run, definition, detail, operator, at
FROM {schema}.migration_events
WHERE name = %(name)s AND phase = %(phase)s
ORDER BY id
