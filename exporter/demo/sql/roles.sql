-- The role of the app, and the two roles of deploy/sql with the same privileges. Passwords are set separately.
CREATE ROLE nova LOGIN;

CREATE ROLE index_builder LOGIN INHERIT;
GRANT pg_read_all_stats, nova TO index_builder;

CREATE ROLE index_monitor LOGIN INHERIT;
GRANT pg_monitor TO index_monitor;
ALTER ROLE index_monitor SET default_transaction_read_only = on;
ALTER ROLE index_monitor SET track_counts = off;
ALTER ROLE index_monitor SET pg_stat_statements.track = none;
