-- Appends one event to the journal.
-- changes: one row of migration_events; privileges: INSERT on it; lock: RowExclusiveLock on it
INSERT INTO {schema}.migration_events (run, name, index_name, phase, status, attempt, definition, detail)
VALUES (%(run)s, %(name)s, %(index_name)s, %(phase)s, %(status)s, %(attempt)s, %(definition)s, %(detail)s)
