-- Has this session look for deadlocks later than others do, where the role may set that; no row where it may not.
-- Of two that wait for each other the server ends the one that looks first.
-- changes: deadlock_timeout of this session; privileges: none to ask; lock: none
SELECT pg_catalog.set_config('deadlock_timeout', %(milliseconds)s::pg_catalog.int4::pg_catalog.text, false)
WHERE pg_catalog.date_part('epoch', pg_catalog.current_setting('deadlock_timeout')::pg_catalog.interval)
    < %(milliseconds)s::pg_catalog.float8 / 1000
    AND pg_catalog.has_parameter_privilege('deadlock_timeout', 'SET')
