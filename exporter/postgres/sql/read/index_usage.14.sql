-- How often indexes were scanned, one row for each index that exists.
-- An index of a partitioned table has no counters: those of the indexes of its partitions are summed.
-- privileges: none; lock: AccessShareLock on catalogues; cost: one row an index and partition
-- units: scans since the counters of the database began; last_idx_scan is NULL before PostgreSQL 16, and while
-- the index was not scanned
WITH RECURSIVE members (root, oid) AS (
    SELECT i.indexrelid, i.indexrelid
    FROM pg_catalog.pg_index AS i
    WHERE i.indexrelid::pg_catalog.int8 = ANY (%(indexrelids)s::pg_catalog.int8[])
    UNION
    SELECT m.root, h.inhrelid
    FROM pg_catalog.pg_inherits AS h
    JOIN members AS m ON m.oid = h.inhparent
)
SELECT
    m.root::pg_catalog.int8 AS indexrelid,
    pg_catalog.sum(pg_catalog.pg_stat_get_numscans(m.oid))::pg_catalog.int8 AS idx_scan,
    NULL::pg_catalog.timestamptz  -- before 16
    pg_catalog.max(pg_catalog.pg_stat_get_lastscan(m.oid))  -- from 16
        AS last_idx_scan
FROM members AS m
JOIN pg_catalog.pg_class AS c ON c.oid = m.oid AND c.relkind = 'i'
GROUP BY m.root
