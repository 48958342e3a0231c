-- What some pages of a table hold, one row: rows, those that the index would take, and their width in it.
-- {widths} and {condition} come from the server's own form of the declaration; {percent} is of the pages.
-- units: rows, bytes; row_bytes is NULL where the sample has no such row
-- privileges: SELECT on the table; lock: AccessShareLock on it; cost: reads that share of its pages
SELECT
    pg_catalog.count(*) AS row_count,
    pg_catalog.count(*) FILTER (WHERE {condition}) AS matching_count,
    (pg_catalog.avg({widths}) FILTER (WHERE {condition}))::pg_catalog.float8 AS row_bytes
FROM {table} TABLESAMPLE SYSTEM ({percent})
