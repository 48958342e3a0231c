-- Has this session look for deadlocks later than others do, where the role may set that; no row where it may not.
-- Of two that wait for each other the server ends the one that looks first.
-- changes: deadlock_timeout of this session; privileges: superuser, from 15 on SET on the parameter; else nothing happens
-- lock: AccessShareLock on catalogues
SELECT pg_catalog.set_config('deadlock_timeout', %(milliseconds)s::pg_catalog.int4::pg_catalog.text, false)
WHERE pg_catalog.date_part('epoch', pg_catalog.current_setting('deadlock_timeout')::pg_catalog.interval)
    < %(milliseconds)s::pg_catalog.float8 / 1000
    AND (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER)  -- before 15
    AND pg_catalog.has_parameter_privilege('deadlock_timeout', 'SET')  -- from 15
