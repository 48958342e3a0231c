-- The canonical definition of each index of the given migrations, by the journal's latest event of it.
-- From the table: a view runs what its owner put into it.
-- privileges: SELECT on migration_events; lock: AccessShareLock on it; cost: one pass over migration_events
SELECT
    l.name,
    l.index_name,
    l.definition
FROM (
    SELECT DISTINCT ON (m.name, m.index_name)
        m.name, m.index_name, m.definition
    FROM {schema}.migration_events AS m
    WHERE m.index_name IS NOT NULL AND m.name = ANY (%(names)s::pg_catalog.text[])
    ORDER BY m.name, m.index_name, m.id DESC
) AS l
WHERE l.definition IS NOT NULL
