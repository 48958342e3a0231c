-- What the current role may do for the exporter and how its session is set, one row.
-- Settings come with their source: "off" for this role alone means something else than "off" for all.
-- pg_stat_statements.max is known only where the library was preloaded; a setting of a role alone is no sign.
-- privileges: none; lock: AccessShareLock on catalogues
-- cost: one pass over all settings and over the control files of the extensions; not for every scrape
SELECT
    CURRENT_USER::pg_catalog.text AS rolname,
    (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER) AS is_superuser,
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS may_read_all_stats,
    pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS may_read_control_system,
    counts.setting = 'on' AS track_counts,
    counts.source AS track_counts_source,
    track.setting AS statements_track,
    track.source AS statements_track_source,
    EXISTS (SELECT FROM pg_catalog.pg_settings AS s WHERE s.name = 'pg_stat_statements.max')
        AS statements_preloaded,
    pg_catalog.current_setting('compute_query_id') AS compute_query_id,
    e.extversion AS statements_version,
    n.nspname::pg_catalog.text AS statements_schema,
    pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_use_statements_schema,
    ARRAY(
        SELECT p.proname::pg_catalog.text
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = n.oid
            AND p.proname IN ('pg_stat_statements', 'pg_stat_statements_info')
            AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
        ORDER BY p.proname
    ) AS statements_functions_refused,
    (
        SELECT a.default_version
        FROM pg_catalog.pg_available_extensions() AS a
        WHERE a.name = 'pg_stat_statements'
    ) AS statements_available_version,
    (
        SELECT pg_catalog.has_schema_privilege(j.oid, 'USAGE')
        FROM pg_catalog.pg_namespace AS j
        WHERE j.nspname = %(schemaname)s
    ) AS may_use_journal_schema
FROM pg_catalog.pg_settings AS counts
LEFT JOIN pg_catalog.pg_settings AS track ON track.name = 'pg_stat_statements.track'
LEFT JOIN pg_catalog.pg_extension AS e ON e.extname = 'pg_stat_statements'
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
WHERE counts.name = 'track_counts'
