"""Metrics of the tables of watched indexes."""

from __future__ import annotations

from exporter.catalogue.metric import TABLE, Metric, view_counter


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


TABLE_METRICS = (
    *(
        view_counter("pg_stat_user_tables", column, TABLE, "table", text)
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
