-- Run in the database of Nova after its tables exist.
GRANT CONNECT, TEMPORARY ON DATABASE nova TO index_builder;
GRANT USAGE, CREATE ON SCHEMA public TO index_builder;

GRANT CONNECT ON DATABASE nova TO index_monitor;
GRANT USAGE ON SCHEMA public TO index_monitor;
GRANT SELECT ON TABLE messages, posts TO index_monitor;
