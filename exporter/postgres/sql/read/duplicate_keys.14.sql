-- How many keys occur more than once, and in how many rows; counted up to 1,000 keys. Shows no value.
-- {keys} and {condition} come from the server's own form of the declaration.
-- privileges: SELECT on the table; lock: AccessShareLock on it; cost: reads and sorts the whole table
SELECT
    pg_catalog.count(*) AS key_count,
    pg_catalog.sum(d.row_count)::pg_catalog.int8 AS row_count
FROM (
    SELECT pg_catalog.count(*) AS row_count
    FROM {table}
    WHERE {condition}
    GROUP BY {keys}
    HAVING pg_catalog.count(*) > 1
    LIMIT 1000
) AS d
