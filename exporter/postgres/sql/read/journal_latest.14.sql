-- The latest state of each index of one migration by the journal.
-- From the table: a view runs what its owner put into it.
-- privileges: SELECT on migration_events; lock: AccessShareLock on it; cost: one pass over migration_events
SELECT DISTINCT ON (index_name)
    name, index_name, phase, status, attempt, run, definition, detail, operator, at
FROM {schema}.migration_events
WHERE name = %(name)s
ORDER BY index_name, id DESC
