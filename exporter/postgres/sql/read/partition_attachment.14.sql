-- The attachment of an index of a partition to the index of the table above, by their names; one row.
-- Both names are of one tree; what is not there is NULL.
-- privileges: none; lock: AccessShareLock on catalogues; cost: constant
-- valid_ancestors are the names of the indexes above, the parent included, that are valid
SELECT
    child.oid::pg_catalog.int8 AS indexrelid,
    ci.indisvalid AND ci.indisready AND ci.indislive AS is_usable,
    parent.oid::pg_catalog.int8 AS parent_indexrelid,
    pi.indisvalid AS parent_is_valid,
    EXISTS (
        SELECT FROM pg_catalog.pg_inherits AS h
        WHERE h.inhrelid = child.oid AND h.inhparent = parent.oid
    ) AS is_attached,
    EXISTS (
        SELECT FROM pg_catalog.pg_inherits AS h
        WHERE h.inhrelid = tbl.oid AND h.inhparent = pi.indrelid AND NOT h.inhdetachpending
    ) AS is_partition,
    ARRAY(
        SELECT a.relname::pg_catalog.text
        FROM pg_catalog.pg_partition_ancestors(parent.oid) AS n (relid)
        JOIN pg_catalog.pg_index AS ai ON ai.indexrelid = n.relid
        JOIN pg_catalog.pg_class AS a ON a.oid = n.relid
        WHERE ai.indisvalid
    ) AS valid_ancestors
FROM (VALUES (1)) AS one (row)
LEFT JOIN pg_catalog.pg_class AS tbl
    ON tbl.relname = %(relname)s
    AND tbl.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = %(schemaname)s)
LEFT JOIN pg_catalog.pg_class AS child
    ON child.relname = %(indexname)s AND child.relnamespace = tbl.relnamespace
LEFT JOIN pg_catalog.pg_index AS ci ON ci.indexrelid = child.oid AND ci.indrelid = tbl.oid
LEFT JOIN pg_catalog.pg_class AS parent
    ON parent.relname = %(parent_indexname)s
    AND parent.relnamespace = (
        SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = %(parent_schemaname)s
    )
LEFT JOIN pg_catalog.pg_index AS pi ON pi.indexrelid = parent.oid
