"""Metrics of watched indexes, of declared ones and of their builds."""

from __future__ import annotations

from exporter.catalogue.metric import DECLARED, INDEX, PARTITION, Metric, view_counter


def _build_gauge(suffix: str, text: str, source: str) -> Metric:
    column = f"pg_stat_progress_create_index.{source}"
    return Metric(f"pg_index_build_{suffix}", "gauge", INDEX, text, column, "build", source)


INDEX_METRICS = (
    view_counter("pg_stat_user_indexes", "idx_scan", INDEX, "index", "Index scans started on this index."),
    view_counter("pg_stat_user_indexes", "idx_tup_read", INDEX, "index", "Index entries returned by scans."),
    view_counter(
        "pg_stat_user_indexes",
        "idx_tup_fetch",
        INDEX,
        "index",
        "Live table rows fetched by simple index scans; bitmap scans do not count here.",
    ),
    Metric(
        "pg_stat_user_indexes_last_idx_scan_timestamp_seconds",
        "gauge",
        INDEX,
        "Time of the last scan of this index; absent if it was never scanned.",
        "pg_stat_user_indexes.last_idx_scan",
        "index",
        "last_idx_scan",
        since=16,
        unit="seconds",
    ),
    view_counter(
        "pg_statio_user_indexes", "idx_blks_read", INDEX, "index", "Blocks of this index read from disk."
    ),
    view_counter(
        "pg_statio_user_indexes",
        "idx_blks_hit",
        INDEX,
        "index",
        "Blocks of this index found in shared buffers.",
    ),
    Metric(
        "pg_index_size_bytes",
        "gauge",
        INDEX,
        "Size of the index on disk, main fork; refreshed after writes to its table, at least once a minute.",
        "pg_relation_size(indexrelid)",
        "index",
        "size_bytes",
        unit="bytes",
    ),
    Metric(
        "pg_index_valid",
        "gauge",
        INDEX,
        "1 when queries may use the index, 0 while it is being built or after a failed build.",
        "pg_index.indisvalid",
        "index",
        "indisvalid",
    ),
    Metric(
        "pg_index_ready",
        "gauge",
        INDEX,
        "1 when writes maintain the index.",
        "pg_index.indisready",
        "index",
        "indisready",
    ),
    Metric(
        "pg_index_observed_since_timestamp_seconds",
        "gauge",
        INDEX,
        "Time since which the counters of this index count as evidence: the latest of statistics reset, "
        "crash recovery, cloning of the server and creation of the index; absent while the index is not "
        "valid.",
        "pg_stat_database.stats_reset, the oldest stats_reset of pg_stat_bgwriter, pg_stat_checkpointer,"
        " pg_stat_archiver, pg_stat_wal and pg_stat_slru; birth by the journal, else"
        " pg_xact_commit_timestamp(pg_index.xmin), else first seen by this exporter",
        "index",
        "observed_since",
        unit="seconds",
    ),
    Metric(
        "pg_index_locked",
        "gauge",
        INDEX,
        "1 while a session holds or waits for an AccessExclusiveLock on the index or its table; size and "
        "definition are absent then, because reading them would wait.",
        "pg_locks",
        "index",
        "locked",
    ),
    Metric(
        "pg_index_info",
        "info",
        (*INDEX, "method", "unique", "primary", "constraint", "partial", "expression"),
        "Properties of the index, constant 1; constraint is primary_key, unique, exclusion or empty.",
        "pg_index, pg_am, pg_constraint",
        "index",
        "info",
    ),
)

DECLARED_METRICS = (
    Metric(
        "pg_index_declared",
        "gauge",
        DECLARED,
        "1 for every index that a manifest declares, even if the database does not answer; role is the "
        "purpose: read, constraint, fk, replica_identity, statistics or seasonal.",
        "manifest",
        "declared",
        "declared",
    ),
    Metric(
        "pg_index_present",
        "gauge",
        INDEX,
        "1 when the declared index exists, 0 when it does not; absent while the database is down.",
        "pg_class",
        "declared",
        "present",
    ),
    Metric(
        "pg_index_definition_matches",
        "gauge",
        INDEX,
        "1 when the index is defined as declared, else 0; absent while the journal has no canonical "
        "definition.",
        "pg_get_indexdef(indexrelid), migration_events.definition",
        "declared",
        "definition_matches",
    ),
    Metric(
        "pg_index_partition_info",
        "info",
        PARTITION,
        "Maps the index of a partition to the declared index of its partitioned table, constant 1. The "
        "declared index has no counters; the indexes of its partitions have.",
        "pg_inherits",
        "declared",
        "parents",
    ),
)

BUILD_METRICS = (
    Metric(
        "pg_index_build_phase",
        "gauge",
        (*INDEX, "phase"),
        "1 for the current phase of a running build; absent without a build. indexname is empty while the "
        "server does not report the index, as in a build that is not concurrent, and for partitioned "
        "parents of the table.",
        "pg_stat_progress_create_index.phase",
        "build",
        "phase",
    ),
    _build_gauge("phase_blocks", "Blocks to process in this phase of the build.", "blocks_total"),
    _build_gauge("phase_blocks_done", "Blocks processed in this phase of the build.", "blocks_done"),
    _build_gauge("phase_tuples", "Tuples to process in this phase of the build.", "tuples_total"),
    _build_gauge("phase_tuples_done", "Tuples processed in this phase of the build.", "tuples_done"),
    _build_gauge("phase_lockers", "Sessions that this phase of the build has to wait for.", "lockers_total"),
    _build_gauge(
        "phase_lockers_done", "Sessions that this phase of the build no longer waits for.", "lockers_done"
    ),
    Metric(
        "pg_index_build_progress_ratio",
        "gauge",
        INDEX,
        "Share of the whole build that is done, 0 to 1, by typical weights of its phases; waiting does "
        "not change it.",
        "pg_stat_progress_create_index",
        "build",
        "share",
        unit="ratio",
    ),
    Metric(
        "pg_index_build_blocker_age_seconds",
        "gauge",
        INDEX,
        "Age of the oldest transaction that the build waits for, prepared transactions included; absent "
        "while it waits for none, or only for another build of this tool.",
        "pg_blocking_pids(), pg_stat_activity.xact_start, pg_prepared_xacts.prepared",
        "build",
        "blocker_age_seconds",
        unit="seconds",
    ),
    Metric(
        "pg_index_build_waiters",
        "gauge",
        INDEX,
        "Sessions that wait for the build, directly or behind another session.",
        "pg_locks",
        "build",
        "waiter_count",
    ),
    Metric(
        "pg_index_build_stops_readers",
        "gauge",
        INDEX,
        "1 while a session that needs AccessExclusiveLock on the table waits for the build; all other "
        "sessions, readers too, queue behind that session.",
        "pg_locks.mode",
        "build",
        "stops_readers",
    ),
)
