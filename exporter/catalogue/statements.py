"""Metrics of statements that read watched tables."""

from __future__ import annotations

from exporter.catalogue.metric import STATEMENT, Metric


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
