-- When each given index got the catalogue row it has, for those whose transaction's time is still known.
-- A database copied from a template brings the rows of its indexes along: no index is older than its database.
-- privileges: none; lock: AccessShareLock on the catalogues; cost: two look-ups an index in pg_commit_ts
-- units: seconds since the epoch; NULL where it is not known
SELECT
    i.indexrelid,
    CASE WHEN pg_catalog.current_setting('track_commit_timestamp')::pg_catalog.bool
        THEN pg_catalog.date_part('epoch', GREATEST(
            pg_catalog.pg_xact_commit_timestamp(i.xmin),
            pg_catalog.pg_xact_commit_timestamp(d.xmin)
        ))
    END AS committed_at
FROM pg_catalog.unnest(%(indexrelids)s::pg_catalog.oid[]) AS wanted (indexrelid)
JOIN pg_catalog.pg_index AS i ON i.indexrelid = wanted.indexrelid
JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
