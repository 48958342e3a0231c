-- Size and distance from wraparound of tables, their TOAST tables counted in; a table's own settings prevail.
-- units: bytes (main fork), transactions, multixacts; ages are NULL for what holds no rows
-- privileges: none; lock: AccessShareLock on each table; cost: one row a table
SELECT
    c.oid::pg_catalog.int8 AS relid,
    pg_catalog.pg_relation_size(c.oid) AS heap_bytes,
    CASE WHEN c.relfrozenxid <> '0' THEN greatest(
        pg_catalog.age(c.relfrozenxid),
        CASE WHEN t.relfrozenxid <> '0' THEN pg_catalog.age(t.relfrozenxid) END
    ) END AS xid_age,
    CASE WHEN c.relminmxid <> '0' THEN greatest(
        pg_catalog.mxid_age(c.relminmxid),
        CASE WHEN t.relminmxid <> '0' THEN pg_catalog.mxid_age(t.relminmxid) END
    ) END AS mxid_age,
    least(
        pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.int8,
        (
            SELECT o.option_value::pg_catalog.int8
            FROM pg_catalog.pg_options_to_table(c.reloptions) AS o
            WHERE o.option_name = 'autovacuum_freeze_max_age'
        )
    ) AS freeze_max_age,
    least(
        pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::pg_catalog.int8,
        (
            SELECT o.option_value::pg_catalog.int8
            FROM pg_catalog.pg_options_to_table(c.reloptions) AS o
            WHERE o.option_name = 'autovacuum_multixact_freeze_max_age'
        )
    ) AS multixact_freeze_max_age
FROM pg_catalog.pg_class AS c
LEFT JOIN pg_catalog.pg_class AS t ON t.oid = c.reltoastrelid
WHERE c.oid = ANY (%(relids)s::pg_catalog.oid[]) AND c.relkind IN ('r', 'm', 'p')
ORDER BY c.oid
