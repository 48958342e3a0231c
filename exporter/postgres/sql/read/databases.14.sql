-- The databases that can be connected to, apart from templates.
-- privileges: none; CONNECT on them is not asked for: a database that refuses us is known as down
-- lock: AccessShareLock on pg_database; cost: one pass over pg_database
-- units: datname in the client's encoding, or as its bytes are where its database has another one
SELECT d.oid, pg_catalog.namesend(d.datname) AS datname
FROM pg_catalog.pg_database AS d
WHERE d.datallowconn
    AND NOT d.datistemplate
    -- -2: left behind by a DROP DATABASE that was stopped half-way
    AND d.datconnlimit <> -2
ORDER BY d.datname
