-- The indexes of one migration that it created itself, or began to, with their definitions.
-- A build that failed and was cleaned up is forgotten: a later index of that name is not ours.
-- `is_dropping`: a drop was begun since, and is not known to have ended or to have left it valid.
-- `at` of a build that ended is the first time that its index was seen: runs side by side see it one after the other.
-- `verified_at` is the last time since that the tool proved its use: its own probes scanned it until then.
-- privileges: SELECT on migration_events; lock: AccessShareLock on it; cost: one pass over migration_events
-- units: indexrelid is that of the index as it was built, NULL where no build was seen to end
SELECT
    l.index_name,
    l.phase,
    l.definition,
    l.run,
    coalesce(
        (
            SELECT pg_catalog.min(e.at)
            FROM {schema}.migration_events AS e
            WHERE
                l.phase = 'catalog_ok' AND e.phase = 'catalog_ok' AND e.name = %(name)s
                AND e.index_name = l.index_name AND e.detail ->> 'indexrelid' = l.detail ->> 'indexrelid'
        ),
        l.at
    ) AS at,
    (l.detail ->> 'indexrelid')::pg_catalog.int8 AS indexrelid,
    coalesce(d.status <> 'failed', false) AS is_dropping,
    (
        SELECT pg_catalog.max(e.at)
        FROM {schema}.migration_events AS e
        WHERE e.name = %(name)s AND e.index_name = l.index_name AND e.phase = 'done' AND e.id > l.id
    ) AS verified_at
FROM (
    SELECT DISTINCT ON (e.index_name)
        e.id, e.index_name, e.phase, e.status, e.definition, e.run, e.at, e.detail
    FROM {schema}.migration_events AS e
    WHERE e.name = %(name)s AND e.index_name IS NOT NULL AND e.phase IN ('building', 'catalog_ok', 'dropped')
    ORDER BY e.index_name, e.id DESC
) AS l
LEFT JOIN (
    SELECT DISTINCT ON (e.index_name)
        e.id, e.index_name, e.status
    FROM {schema}.migration_events AS e
    WHERE e.name = %(name)s AND e.phase = 'dropping'
    ORDER BY e.index_name, e.id DESC
) AS d ON d.index_name = l.index_name AND d.id > l.id
WHERE NOT (l.phase = 'building' AND l.status = 'failed')
