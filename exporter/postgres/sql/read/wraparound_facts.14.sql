-- How far this database is from wraparound, and the limits that the server itself uses, one row.
-- units: transactions, multixacts
-- privileges: none; lock: AccessShareLock on pg_database; cost: constant
SELECT
    pg_catalog.age(d.datfrozenxid) AS xid_age,
    pg_catalog.mxid_age(d.datminmxid) AS mxid_age,
    pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.int8 AS freeze_max_age,
    pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::pg_catalog.int8 AS multixact_freeze_max_age,
    -- The server takes no less than this, whatever is set.
    greatest(
        pg_catalog.current_setting('vacuum_failsafe_age')::pg_catalog.int8,
        pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.int8 * 105 / 100
    ) AS failsafe_age,
    greatest(
        pg_catalog.current_setting('vacuum_multixact_failsafe_age')::pg_catalog.int8,
        pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::pg_catalog.int8 * 105 / 100
    ) AS multixact_failsafe_age
FROM pg_catalog.pg_database AS d
WHERE d.datname = pg_catalog.current_database()
