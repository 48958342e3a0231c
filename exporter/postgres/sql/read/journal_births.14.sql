-- When this tool first saw each index that it built for the given migrations, by the oid of the index.
-- A database copied from a template, where the counters began at zero, brings its journal along: an index
-- whose oid is lower than the database's own was copied, and the journal does not know when.
-- privileges: SELECT on migration_events; lock: AccessShareLock on it; cost: one pass over migration_events
-- units: seconds since the epoch
SELECT
    e.indexrelid,
    pg_catalog.date_part('epoch', pg_catalog.min(e.at)) AS built_at
FROM (
    SELECT
        (m.detail ->> 'indexrelid')::pg_catalog.int8 AS indexrelid,
        m.at
    FROM {schema}.migration_events AS m
    WHERE m.phase = 'catalog_ok'
        AND m.name = ANY (%(names)s::pg_catalog.text[])
        AND m.detail ->> 'indexrelid' IS NOT NULL
) AS e
WHERE e.indexrelid > (
    SELECT d.oid::pg_catalog.int8 FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
)
GROUP BY e.indexrelid
