-- Where each index of one migration stands by the journal.
-- privileges: SELECT on migration_log; lock: AccessShareLock on it; cost: one pass over migration_events
SELECT name, index_name, phase, status, attempt, run, definition, detail, operator, at
FROM {schema}.migration_log
WHERE name = %(name)s
