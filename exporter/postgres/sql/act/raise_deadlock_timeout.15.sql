-- Has this session look for deadlocks later than others do, where the role may set that; no row where it may not.
-- Of two that wait for each other the server ends the one that looks first.
-- changes: deadlock_timeout of this session; privileges: none to ask; lock: AccessShareLock on catalogues
SELECT pg_catalog.set_config('deadlock_timeout', %(milliseconds)s::pg_catalog.int4::pg_catalog.text, false)
FROM pg_catalog.pg_settings AS s
WHERE s.name = 'deadlock_timeout'
    AND s.setting::pg_catalog.int4 < %(milliseconds)s::pg_catalog.int4
    AND pg_catalog.has_parameter_privilege('deadlock_timeout', 'SET')
