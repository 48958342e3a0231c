"""The rows about tables, statements and the exporter itself."""

from __future__ import annotations

from panels import DATABASE, SERVER, TABLE, UP, Column, Row, graph, per_second, series, table, timeline

STATEMENT = f"{DATABASE}, user, queryid, toplevel"
TABLE_LEGEND = "{{schemaname}}.{{relname}} ({{datname}} on {{instance}})"
STATEMENT_LEGEND = "{{queryid}} {{user}} {{query}}"


def tables() -> Row:
    updates = per_second("pg_stat_user_tables_n_tup_upd_total")
    hot = per_second("pg_stat_user_tables_n_tup_hot_upd_total")
    changed = series("pg_stat_user_tables_n_mod_since_analyze")
    analyzed = series(
        "pg_stat_user_tables_last_analyze_timestamp_seconds",
        "pg_stat_user_tables_last_autoanalyze_timestamp_seconds",
    )
    return "Tables", (
        graph(
            "Table scans per second",
            "Index scans, over all indexes of the table, and sequential scans.",
            {
                f"index {TABLE_LEGEND}": per_second("pg_stat_user_tables_idx_scan_total"),
                f"sequential {TABLE_LEGEND}": per_second("pg_stat_user_tables_seq_scan_total"),
            },
            unit="ops",
        ),
        graph(
            "Rows read by sequential scans per second",
            "Live rows that sequential scans fetched: what a missing index costs.",
            {TABLE_LEGEND: per_second("pg_stat_user_tables_seq_tup_read_total")},
            unit="cps",
        ),
        graph(
            "Rows written per second",
            "Rows inserted, updated and deleted: each may update every index of the table.",
            {
                f"inserted {TABLE_LEGEND}": per_second("pg_stat_user_tables_n_tup_ins_total"),
                f"updated {TABLE_LEGEND}": updates,
                f"deleted {TABLE_LEGEND}": per_second("pg_stat_user_tables_n_tup_del_total"),
            },
            unit="cps",
        ),
        graph(
            "HOT share of updates",
            "Share of updates that needed no new index entry; it falls when an index covers a column"
            " that is often updated. No line while nothing is updated.",
            {TABLE_LEGEND: f"{hot} / ({updates} > 0)"},
            unit="percentunit",
            maximum=1,
        ),
        graph(
            "Rows changed since the last ANALYZE",
            "As a share of the live rows: with old statistics the planner may not choose the index.",
            {TABLE_LEGEND: f"{changed} / ({series('pg_stat_user_tables_n_live_tup')} > 0)"},
            unit="percentunit",
            span=8,
        ),
        graph(
            "Time since the last ANALYZE",
            "Manual or automatic, whichever was later.",
            {TABLE_LEGEND: f"time() - max by ({TABLE}) ({analyzed})"},
            unit="s",
            span=8,
        ),
        graph(
            "Table size",
            "Table on disk with TOAST and maps, without indexes.",
            {TABLE_LEGEND: series("pg_table_size_bytes")},
            unit="bytes",
            span=8,
        ),
    )


def statements() -> Row:
    calls = per_second("pg_stat_statements_calls_total")

    def rate(column: str) -> str:
        return per_second(f"pg_stat_statements_{column}_total")

    def per_call(*columns: str) -> str:
        amount = " + ".join(rate(column) for column in columns)
        return f"({amount}) / ({calls} > 0)"

    def with_text(expr: str) -> str:
        """`expr` with the label `query`, and without it where texts are not published."""
        # One text for each queryid, or the join would fail as a whole.
        text = f"topk by ({DATABASE}, queryid) (1, {series('pg_stat_statements_query_info')})"
        summed = f"sum by ({STATEMENT}) ({expr})"
        return f"({summed} * on ({DATABASE}, queryid) group_left (query) {text}) or on ({STATEMENT}) {summed}"

    def top(expr: str) -> dict[str, str]:
        return {STATEMENT_LEGEND: with_text(f"topk(10, {expr})")}

    def column(title: str, expr: str, unit: str) -> Column:
        return Column(title, f"sum by ({STATEMENT}) ({expr})", unit=unit)

    blocks = ("shared_blks_hit", "shared_blks_read")
    return "Statements", (
        table(
            "Statements on watched tables",
            "What the indexes are for, the costliest first. The text is missing with --no-query-text.",
            (
                Column("Calls per second", with_text(calls), unit="reqps"),
                column("Time share", rate("exec_seconds"), "percentunit"),
                column("Seconds per call", per_call("exec_seconds"), "s"),
                column("Planning per call", per_call("plan_seconds"), "s"),
                column("Rows per call", per_call("rows"), "short"),
                column("Blocks per call", per_call(*blocks), "short"),
            ),
            labels=("instance", "datname", "user", "queryid", "toplevel", "query"),
            sort_by="Time share",
            descending=True,
            height=10,
        ),
        graph(
            "Calls per second",
            "The ten most often called statements on watched tables.",
            top(calls),
            unit="reqps",
        ),
        graph(
            "Seconds per call",
            "Mean execution time, the ten slowest.",
            top(per_call("exec_seconds")),
            unit="s",
        ),
        graph(
            "Blocks per call",
            "Shared blocks found in the buffer cache or read, the ten largest.",
            top(per_call(*blocks)),
            unit="short",
        ),
        graph(
            "Blocks written and temporary blocks per second",
            "Over all statements on watched tables of a database.",
            {
                f"{what} ({{{{datname}}}} on {{{{instance}}}})": f"sum by ({DATABASE}) ({rate(column)})"
                for what, column in (
                    ("dirtied", "shared_blks_dirtied"),
                    ("written", "shared_blks_written"),
                    ("temporary read", "temp_blks_read"),
                    ("temporary written", "temp_blks_written"),
                )
            },
            unit="cps",
        ),
        graph(
            "Evictions of statement entries per second",
            "pg_stat_statements drops its least executed entries when it is full; their counts are lost.",
            {"{{instance}}": per_second("pg_stat_statements_dealloc_total")},
            unit="ops",
        ),
        graph(
            "Time since the statement statistics were reset",
            "Compare rates only with figures since then.",
            {"{{instance}}": f"time() - {series('pg_stat_statements_stats_reset_timestamp_seconds')}"},
            unit="s",
        ),
    )


def exporter() -> Row:
    collector = "{{collector}} {{datname}} on {{instance}}"
    open_files = f"{series('process_open_fds')} / {series('process_max_fds')}"
    system = f"max by ({SERVER}, system_identifier, version) ({series('pg_system_info')})"
    exporter_version = (
        f'label_replace({series("pg_index_exporter_build_info")}, "exporter_version", "$1",'
        ' "version", "(.*)")'
    )
    build = f"max by ({SERVER}, exporter_version, python_version) ({exporter_version})"

    def of_server(name: str) -> str:
        return f"max by ({SERVER}) ({series(name)})"

    def last_success() -> str:
        return series("pg_index_exporter_collector_last_success_timestamp_seconds")

    return "Exporter", (
        timeline(
            "Databases",
            "Whether each configured database answered.",
            {
                "target {{instance}}": series("pg_index_exporter_target_up"),
                "{{datname}} on {{instance}}": series("pg_index_exporter_database_up"),
            },
            UP,
        ),
        timeline(
            "Collectors",
            "Whether each collector read all it asked for; a failed one publishes nothing.",
            {collector: series("pg_index_exporter_collector_success")},
            {"0": ("failed", "red"), "1": ("complete", "green")},
        ),
        graph(
            "Collector duration",
            "Time each collector took in a scrape.",
            {collector: series("pg_index_exporter_collector_duration_seconds")},
            unit="s",
        ),
        graph(
            "Time since a collector's last success",
            "Grows while a collector fails.",
            {collector: f"time() - {last_success()}"},
            unit="s",
        ),
        graph(
            "Scrape duration",
            "Time the whole collection of a target took.",
            {"{{instance}}": series("pg_index_exporter_scrape_duration_seconds")},
            unit="s",
            span=8,
        ),
        graph(
            "Left out",
            "Databases, indexes and statements beyond max_databases, max_indexes and max_statements.",
            {
                "databases of {{instance}}": series("pg_index_exporter_databases_cut"),
                "indexes {{datname}} on {{instance}}": series("pg_index_exporter_indexes_cut"),
                "statements {{datname}} on {{instance}}": series("pg_index_exporter_statements_cut"),
            },
            unit="none",
            span=8,
        ),
        graph(
            "Processor time",
            "Processor seconds that the exporter uses each second.",
            {"{{instance}}": per_second("process_cpu_seconds_total")},
            unit="percentunit",
            span=8,
        ),
        graph(
            "Memory of the exporter",
            "Resident and virtual memory of the process.",
            {
                "resident {{instance}}": series("process_resident_memory_bytes"),
                "virtual {{instance}}": series("process_virtual_memory_bytes"),
            },
            unit="bytes",
        ),
        graph(
            "Open files of the exporter",
            "Open file descriptors as a share of the limit.",
            {"{{instance}}": open_files},
            unit="percentunit",
        ),
        table(
            "Servers and versions",
            "The server of each exporter. The system identifier is the same on a primary and its standbys.",
            (
                Column("System", system, hidden=True),
                Column("Build", build, hidden=True),
                Column(
                    "Role",
                    of_server("pg_in_recovery"),
                    states={"0": ("primary", "blue"), "1": ("standby", "purple")},
                ),
                Column("Standbys streaming", of_server("pg_stat_replication_walsenders")),
                Column(
                    "Settings",
                    of_server("pg_index_exporter_config_last_reload_successful"),
                    states={"0": ("faults", "red"), "1": ("as in their files", "green")},
                ),
                Column(
                    "Settings read",
                    f"max by ({SERVER}) (time() - "
                    f"{series('pg_index_exporter_config_last_reload_success_timestamp_seconds')})",
                    unit="s",
                ),
                Column(
                    "Exporter running for",
                    f"max by ({SERVER}) (time() - {series('process_start_time_seconds')})",
                    unit="s",
                ),
            ),
            labels=("instance", "system_identifier", "version", "exporter_version", "python_version"),
            sort_by="instance",
            height=6,
        ),
    )
