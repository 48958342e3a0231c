-- Creates the journal: migration_events (append-only) and migration_log (the latest event of each index).
-- changes: one table, one view, two grants in the journal's schema; run in one transaction
-- privileges: CREATE on the schema; lock: none on existing tables
CREATE TABLE {schema}.migration_events (
    id pg_catalog.int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run pg_catalog.text NOT NULL,
    name pg_catalog.text NOT NULL,
    index_name pg_catalog.text,
    phase pg_catalog.text NOT NULL,
    status pg_catalog.text NOT NULL,
    attempt pg_catalog.int4 NOT NULL DEFAULT 1,
    definition pg_catalog.text,
    detail pg_catalog.jsonb NOT NULL DEFAULT '{{}}',
    operator pg_catalog.text NOT NULL DEFAULT CURRENT_USER,
    at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE {schema}.migration_events IS
    'pg-index-exporter: every step of every index migration, append-only';
CREATE VIEW {schema}.migration_log AS
SELECT DISTINCT ON (name, index_name)
    name, index_name, phase, status, attempt, run, definition, detail, operator, at
FROM {schema}.migration_events
ORDER BY name, index_name, id DESC;
COMMENT ON VIEW {schema}.migration_log IS
    'pg-index-exporter: the state of each index of each migration; a row without index_name is the migration as a whole';
GRANT SELECT ON {schema}.migration_events, {schema}.migration_log TO pg_monitor;
