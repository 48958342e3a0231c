-- Whether a column holds NULL anywhere, one row.
-- privileges: SELECT on the column; lock: AccessShareLock on the table; cost: up to a scan of the whole
-- table when there is none (give it a statement_timeout)
SELECT EXISTS (SELECT FROM {table} WHERE {column} IS NULL) AS null_exists
