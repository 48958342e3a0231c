-- What depends on each index to be dropped, and its number of scans; one row for each existing index.
-- privileges: none; lock: AccessShareLock on catalogues; cost: one row an index
-- units: last_idx_scan in seconds since the epoch, NULL before PostgreSQL 16
-- conindid of a foreign key names the index that it refers to, on the table referred to. `supports` are foreign
-- keys of the index's own table whose columns lead this index and no other: their checks would read it whole.
SELECT
    i.indexrelid::pg_catalog.int8 AS indexrelid,
    pg_catalog.pg_has_role(t.relowner, 'USAGE') AS is_owner,
    pg_catalog.pg_get_userbyid(t.relowner)::pg_catalog.text AS owner_name,
    own.conname::pg_catalog.text AS constraint_name,
    ARRAY(
        SELECT pg_catalog.concat(
            pg_catalog.quote_ident(f.conname), ' of ', pg_catalog.quote_ident(fn.nspname), '.',
            pg_catalog.quote_ident(ft.relname)
        )
        FROM pg_catalog.pg_constraint AS f
        JOIN pg_catalog.pg_class AS ft ON ft.oid = f.conrelid
        JOIN pg_catalog.pg_namespace AS fn ON fn.oid = ft.relnamespace
        WHERE f.contype = 'f' AND f.conindid = i.indexrelid
        ORDER BY 1
    ) AS referenced_by,
    i.indisreplident AS is_replica_identity,
    i.indisclustered AS is_clustered,
    (
        SELECT pg_catalog.concat(pg_catalog.quote_ident(pn.nspname), '.', pg_catalog.quote_ident(p.relname))
        FROM pg_catalog.pg_inherits AS h
        JOIN pg_catalog.pg_class AS p ON p.oid = h.inhparent
        JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
        WHERE h.inhrelid = i.indexrelid
    ) AS parent,
    ARRAY(
        SELECT pg_catalog.quote_ident(f.conname)
        FROM pg_catalog.pg_constraint AS f
        WHERE f.contype = 'f'
            AND f.conrelid = i.indrelid
            AND i.indpred IS NULL
            AND (i.indkey::pg_catalog.int2[])[0:pg_catalog.cardinality(f.conkey) - 1] @> f.conkey
            AND NOT EXISTS (
                SELECT
                FROM pg_catalog.pg_index AS o
                WHERE o.indrelid = i.indrelid
                    AND o.indexrelid <> i.indexrelid
                    AND o.indisvalid
                    AND o.indpred IS NULL
                    AND (o.indkey::pg_catalog.int2[])[0:pg_catalog.cardinality(f.conkey) - 1] @> f.conkey
            )
        ORDER BY 1
    ) AS supports,
    CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_stat_get_numscans(i.indexrelid) END AS idx_scan,
    NULL::pg_catalog.float8  -- before 16
    pg_catalog.date_part('epoch', pg_catalog.pg_stat_get_lastscan(i.indexrelid))  -- from 16
        AS last_idx_scan
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
LEFT JOIN pg_catalog.pg_constraint AS own
    ON own.conrelid = i.indrelid AND own.conindid = i.indexrelid AND own.contype IN ('p', 'u', 'x')
WHERE i.indexrelid::pg_catalog.int8 = ANY (%(indexrelids)s::pg_catalog.int8[])
