-- Tries for this tool's lock on one table; true when this session now holds it.
-- changes: a session advisory lock; privileges: none; lock: advisory, never waits
SELECT pg_catalog.pg_try_advisory_lock(
    %(tool)s::pg_catalog.int4, %(relid)s::pg_catalog.oid::pg_catalog.int4
)
