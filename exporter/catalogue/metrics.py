"""The metric table as data: name, type, labels, help and source of every metric.

Pages, README, alerts and dashboards are checked against this table. `field` names the attribute of the
row that holds the value; a row whose value is None has no sample. The module is long because it is one
table and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

INDEX = ("datname", "schemaname", "relname", "indexname")
DECLARED = (*INDEX, "role")
PARTITION = (*INDEX, "parent_schemaname", "parent_relname", "parent_indexname")
TABLE = ("datname", "schemaname", "relname")
STATEMENT = ("datname", "user", "queryid", "toplevel")
DATABASE = ("datname",)
COLLECTOR = ("collector", "datname")

Scope = Literal["index", "declared", "build", "table", "statement", "target", "exporter"]
Kind = Literal["counter", "gauge", "info"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. `since` is the first PostgreSQL version with the source."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    source: str
    scope: Scope
    field: str
    since: int = 14
    unit: str = ""

    @property
    def help_text(self) -> str:
        """The HELP line: the meaning, then the source."""
        return f"{self.help} Source: {self.source}."


def _counter(view: str, column: str, labels: tuple[str, ...], scope: Scope, text: str) -> Metric:
    return Metric(f"{view}_{column}_total", "counter", labels, text, f"{view}.{column}", scope, column)


def _table_gauge(column: str, text: str) -> Metric:
    view = "pg_stat_user_tables"
    return Metric(f"{view}_{column}", "gauge", TABLE, text, f"{view}.{column}", "table", column)


def _table_time(column: str, text: str) -> Metric:
    return Metric(
        f"pg_stat_user_tables_{column}_timestamp_seconds",
        "gauge",
        TABLE,
        text,
        f"pg_stat_user_tables.{column}",
        "table",
        column,
        unit="seconds",
    )


def _build_gauge(suffix: str, text: str, source: str) -> Metric:
    column = f"pg_stat_progress_create_index.{source}"
    return Metric(f"pg_index_build_{suffix}", "gauge", INDEX, text, column, "build", source)


INDEX_METRICS = (
    _counter("pg_stat_user_indexes", "idx_scan", INDEX, "index", "Index scans started on this index."),
    _counter("pg_stat_user_indexes", "idx_tup_read", INDEX, "index", "Index entries returned by scans."),
    _counter(
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
    _counter(
        "pg_statio_user_indexes", "idx_blks_read", INDEX, "index", "Blocks of this index read from disk."
    ),
    _counter(
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

TABLE_METRICS = (
    *(
        _counter("pg_stat_user_tables", column, TABLE, "table", text)
        for column, text in (
            ("seq_scan", "Sequential scans started on the table."),
            ("seq_tup_read", "Live rows fetched by sequential scans."),
            ("idx_scan", "Index scans started on the table, over all its indexes."),
            ("n_tup_ins", "Rows inserted."),
            ("n_tup_upd", "Rows updated, HOT updates included."),
            ("n_tup_hot_upd", "Rows updated without a new index entry (HOT)."),
            ("n_tup_del", "Rows deleted."),
        )
    ),
    _table_gauge("n_live_tup", "Estimated number of live rows."),
    _table_gauge("n_mod_since_analyze", "Rows changed since the table was last analyzed."),
    _table_time("last_analyze", "Time of the last manual ANALYZE; absent if there was none."),
    _table_time("last_autoanalyze", "Time of the last automatic ANALYZE; absent if there was none."),
    Metric(
        "pg_table_size_bytes",
        "gauge",
        TABLE,
        "Size of the table on disk with TOAST and maps, without indexes; refreshed after writes, at least "
        "once a minute.",
        "pg_table_size(relid)",
        "table",
        "size_bytes",
        unit="bytes",
    ),
)


def _statement(column: str, text: str, source: str | None = None, unit: str = "") -> Metric:
    return Metric(
        f"pg_stat_statements_{column}_total",
        "counter",
        STATEMENT,
        text,
        f"pg_stat_statements.{source or column}",
        "statement",
        column,
        unit=unit,
    )


STATEMENT_METRICS = (
    _statement(
        "calls",
        "Times the statement was executed; toplevel is empty if the extension is older than 1.9.",
    ),
    _statement("exec_seconds", "Time spent executing the statement.", "total_exec_time", "seconds"),
    _statement(
        "plan_seconds",
        "Time spent planning the statement; 0 unless pg_stat_statements.track_planning is on.",
        "total_plan_time",
        "seconds",
    ),
    _statement("rows", "Rows returned or affected."),
    _statement("shared_blks_hit", "Shared blocks found in the buffer cache."),
    _statement("shared_blks_read", "Shared blocks read from disk."),
    _statement("shared_blks_dirtied", "Shared blocks dirtied."),
    _statement("shared_blks_written", "Shared blocks written."),
    _statement("temp_blks_read", "Temporary blocks read."),
    _statement("temp_blks_written", "Temporary blocks written."),
    Metric(
        "pg_stat_statements_query_info",
        "info",
        ("datname", "queryid", "query"),
        "Normalized text of the statement without comments, up to a first literal, constant 1; absent "
        "with --no-query-text.",
        "pg_stat_statements.query",
        "statement",
        "query",
    ),
    Metric(
        "pg_stat_statements_dealloc_total",
        "counter",
        (),
        "Times that pg_stat_statements evicted the entries of the least executed statements.",
        "pg_stat_statements_info.dealloc",
        "target",
        "statements_dealloc",
    ),
    Metric(
        "pg_stat_statements_stats_reset_timestamp_seconds",
        "gauge",
        (),
        "Time of the last reset of all statement statistics.",
        "pg_stat_statements_info.stats_reset",
        "target",
        "statements_stats_reset",
        unit="seconds",
    ),
)

TARGET_METRICS = (
    Metric(
        "pg_index_exporter_target_up",
        "gauge",
        (),
        "1 when every configured database of the target answered, else 0.",
        "connection",
        "target",
        "target_up",
    ),
    Metric(
        "pg_index_exporter_database_up",
        "gauge",
        DATABASE,
        "1 when the database answered, else 0.",
        "connection",
        "target",
        "database_up",
    ),
    Metric(
        "pg_in_recovery",
        "gauge",
        (),
        "1 on a standby, 0 on a primary.",
        "pg_is_in_recovery()",
        "target",
        "in_recovery",
    ),
    Metric(
        "pg_system_info",
        "info",
        ("system_identifier", "version"),
        "System identifier of the cluster, equal on a primary and its standbys, and server version; "
        "constant 1.",
        "pg_control_system().system_identifier, server_version",
        "target",
        "system",
    ),
    Metric(
        "pg_stat_replication_walsenders",
        "gauge",
        (),
        "Standbys that stream from this server, without base backups, pg_receivewal and logical "
        "subscribers; absent if the role cannot see which they are.",
        "pg_stat_replication, pg_replication_slots",
        "target",
        "walsenders",
    ),
    Metric(
        "pg_index_exporter_databases_cut",
        "gauge",
        (),
        "Databases that match a pattern but exceed max_databases; absent without patterns.",
        "exporter",
        "target",
        "databases_cut",
    ),
    Metric(
        "pg_index_exporter_indexes_cut",
        "gauge",
        DATABASE,
        "Watched, undeclared indexes that exceed max_indexes.",
        "exporter",
        "target",
        "indexes_cut",
    ),
    Metric(
        "pg_index_exporter_statements_cut",
        "gauge",
        DATABASE,
        "Statements on watched tables that exceed max_statements.",
        "exporter",
        "target",
        "statements_cut",
    ),
    Metric(
        "pg_index_exporter_collector_success",
        "gauge",
        COLLECTOR,
        "1 when the collector read all it asked for, 0 when it failed or lacks a privilege.",
        "exporter",
        "target",
        "success",
    ),
    Metric(
        "pg_index_exporter_collector_duration_seconds",
        "gauge",
        COLLECTOR,
        "Duration of the collector in this scrape.",
        "exporter",
        "target",
        "duration_seconds",
        unit="seconds",
    ),
    Metric(
        "pg_index_exporter_collector_last_success_timestamp_seconds",
        "gauge",
        COLLECTOR,
        "Time of the last success of the collector; absent if there was none.",
        "exporter",
        "target",
        "last_success",
        unit="seconds",
    ),
    Metric(
        "pg_index_exporter_scrape_duration_seconds",
        "gauge",
        (),
        "Duration of this collection of the target.",
        "exporter",
        "target",
        "scrape_duration_seconds",
        unit="seconds",
    ),
)

EXPORTER_METRICS = (
    Metric(
        "pg_index_exporter_build_info",
        "info",
        ("version", "python_version"),
        "Version of this exporter, constant 1.",
        "exporter",
        "exporter",
        "build",
    ),
    Metric(
        "pg_index_exporter_config_last_reload_successful",
        "gauge",
        (),
        "1 when the current settings, manifests, secrets and web configuration are in use, 0 when they "
        "are invalid and the last valid ones are in use.",
        "exporter",
        "exporter",
        "config_is_current",
    ),
    Metric(
        "pg_index_exporter_config_last_reload_success_timestamp_seconds",
        "gauge",
        (),
        "Time at which settings, manifests, secrets and web configuration were last valid.",
        "exporter",
        "exporter",
        "config_last_success",
        unit="seconds",
    ),
)

METRICS = (
    *INDEX_METRICS,
    *DECLARED_METRICS,
    *BUILD_METRICS,
    *TABLE_METRICS,
    *STATEMENT_METRICS,
    *TARGET_METRICS,
    *EXPORTER_METRICS,
)

# Published by the process collector of prometheus_client; documented here, rendered there.
PROCESS_METRICS = (
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
)

# The collector that lists databases for patterns; its datname is the database that it asks.
DISCOVERY = "databases"
COLLECTORS = (
    *("server", "indexes", "tables", "builds", "journal", "epoch"),
    *("statements", "locks", "sizes", "definitions"),
)
