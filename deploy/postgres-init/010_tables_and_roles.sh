#!/bin/sh
# Run once by the postgres image, on an empty data directory: the tables of the application with their
# owner, and the two roles of deploy/sql.
set -eu
run() {
  psql -X -q -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" "$@"
}

run <<'SQL'
CREATE EXTENSION pg_stat_statements;
CREATE ROLE nova;
GRANT CREATE ON SCHEMA public TO nova;
SET ROLE nova;
\i /schema.sql
SQL

tables='{messages,posts,users,user_feed_preferences}'
run -v tables="$tables" -f /roles/builder.sql
run -v tables="$tables" -f /roles/monitor.sql
# Passwords are read from the environment: an argument would be visible in the list of processes.
run <<'SQL'
\getenv builder BUILDER_PASSWORD
\getenv monitor MONITOR_PASSWORD
ALTER ROLE index_builder PASSWORD :'builder';
ALTER ROLE index_monitor PASSWORD :'monitor';
SQL
