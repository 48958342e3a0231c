"""The rows about indexes: the verdict, what is declared, how it is used, what is being built."""

from __future__ import annotations

from panels import (
    INDEX,
    PRESENT,
    SERVER,
    TABLE,
    UP,
    Column,
    Row,
    graph,
    last_hour,
    per_second,
    series,
    stat,
    table,
    timeline,
)

LOCKED = {"0": ("no", "green"), "1": ("yes", "orange")}
INDEX_LEGEND = "{{schemaname}}.{{indexname}} ({{datname}} on {{instance}})"


def verdict() -> Row:
    good = ((None, "red"), (1, "green"))
    return "Verdict", (
        stat(
            "Declared indexes",
            "Indexes that the manifests declare, counted on each selected server.",
            f"sum({series('pg_index_declared')})",
        ),
        stat(
            "Present",
            "Share of the declared indexes that exist; databases that do not answer are left out.",
            f"avg({series('pg_index_present')})",
            unit="percentunit",
            steps=good,
        ),
        stat(
            "Valid",
            "Share of the existing declared indexes that queries may use.",
            f"avg({declared(series('pg_index_valid'))})",
            unit="percentunit",
            steps=good,
        ),
        stat(
            "Unused in the last hour",
            "Indexes declared for reading that were valid an hour ago and that no selected server has"
            " scanned since, although their table was read more than 100 times. Select a primary together"
            " with its standbys: an index may serve a standby only. Indexes of partitioned tables are left"
            " to the alert, which also knows whether the counters are evidence. Empty in the first hour.",
            unused_indexes(),
            steps=((None, "green"), (1, "red")),
            no_value="less than an hour of data",
        ),
        stat(
            "Exporter",
            "Whether Prometheus reaches every selected exporter.",
            f"min({series('up')})",
            states=UP,
        ),
        stat(
            "PostgreSQL",
            "Whether every database of the selected exporters answered at the last scrape.",
            f"min({series('pg_index_exporter_target_up')})",
            states=UP,
        ),
    )


def declared_indexes() -> Row:
    def gauge(name: str) -> str:
        return f"max by ({INDEX}) ({declared(series(name))})"

    last_scan = series("pg_stat_user_indexes_last_idx_scan_timestamp_seconds")
    since = series("pg_index_observed_since_timestamp_seconds")
    size = series("pg_index_size_bytes")
    ratio = f"{size} / on ({TABLE}) group_left () ({series('pg_table_size_bytes')} > 0)"
    info = f"max by ({INDEX}, method, unique, partial) ({declared(series('pg_index_info'))})"
    return "Declared indexes", (
        table(
            "Declared indexes and the evidence of their use",
            "One row for each declared index and server. An index without scans is only suspicious"
            " while it is valid, defined as declared, meant for reading, and its table is read; and only"
            " for as long as its counters are evidence.",
            (
                Column("Declared", f"max by ({INDEX}, role) ({series('pg_index_declared')})", hidden=True),
                Column("Kind", info, hidden=True),
                Column("Exists", gauge("pg_index_present"), states=PRESENT),
                Column("Valid", gauge("pg_index_valid"), states=PRESENT),
                Column("Ready", gauge("pg_index_ready"), states=PRESENT),
                Column("As declared", gauge("pg_index_definition_matches"), states=PRESENT),
                Column("Locked", gauge("pg_index_locked"), states=LOCKED),
                Column(
                    "Scans per hour",
                    f"max by ({INDEX}) ({declared(last_hour('pg_stat_user_indexes_idx_scan_total'))})",
                    unit="short",
                ),
                Column(
                    "Table reads per hour",
                    f"max by ({INDEX}) ({on_index(table_reads())})",
                    unit="short",
                ),
                Column("Last scan", f"max by ({INDEX}) (time() - ({declared(last_scan)}))", unit="s"),
                Column("Evidence age", f"max by ({INDEX}) (time() - ({declared(since)}))", unit="s"),
                Column("Size", gauge("pg_index_size_bytes"), unit="bytes"),
                Column("Size / table", f"max by ({INDEX}) ({declared(ratio)})", unit="percentunit"),
            ),
            labels=(
                *("instance", "datname", "schemaname", "relname", "indexname"),
                *("role", "method", "unique", "partial"),
            ),
            sort_by="Scans per hour",
        ),
    )


def index_usage() -> Row:
    read = per_second("pg_statio_user_indexes_idx_blks_read_total")
    hit = per_second("pg_statio_user_indexes_idx_blks_hit_total")
    last_scan = series("pg_stat_user_indexes_last_idx_scan_timestamp_seconds")
    return "Index usage", (
        graph(
            "Index scans per second",
            "Scans started on each watched index. Choose tables above when many are watched.",
            {INDEX_LEGEND: per_second("pg_stat_user_indexes_idx_scan_total")},
            unit="ops",
        ),
        graph(
            "Index entries read and rows fetched per second",
            "Entries that scans returned, and live rows that simple index scans fetched from the table."
            " Bitmap and index-only scans read entries and fetch no rows here.",
            {
                f"read {INDEX_LEGEND}": per_second("pg_stat_user_indexes_idx_tup_read_total"),
                f"fetched {INDEX_LEGEND}": per_second("pg_stat_user_indexes_idx_tup_fetch_total"),
            },
            unit="cps",
        ),
        graph(
            "Index blocks per second",
            "Blocks of the index found in shared buffers, and blocks read from the operating system.",
            {f"hit {INDEX_LEGEND}": hit, f"read {INDEX_LEGEND}": read},
            unit="cps",
        ),
        graph(
            "Index cache hit ratio",
            "Share of the blocks found in shared buffers; no line while none is read.",
            {INDEX_LEGEND: f"{hit} / ({hit} + {read} > 0)"},
            unit="percentunit",
            maximum=1,
        ),
        graph(
            "Time since the last scan",
            "PostgreSQL 16 and later; no line for an index that was never scanned.",
            {INDEX_LEGEND: f"time() - {last_scan}"},
            unit="s",
        ),
        graph(
            "Index size",
            "Main fork of the index on disk.",
            {INDEX_LEGEND: series("pg_index_size_bytes")},
            unit="bytes",
        ),
    )


def index_builds() -> Row:
    def share(kind: str) -> str:
        done = series(f"pg_index_build_phase_{kind}_done")
        return f"{done} / {series(f'pg_index_build_phase_{kind}')}"

    def done_and_total(kind: str) -> dict[str, str]:
        return {
            f"done {INDEX_LEGEND}": series(f"pg_index_build_phase_{kind}_done"),
            f"total {INDEX_LEGEND}": series(f"pg_index_build_phase_{kind}"),
        }

    return "Index builds", (
        timeline(
            "Phase of running builds",
            "The phase each build on a watched table is in, and without an index's name on the partitioned"
            " tables above; empty while nothing is built.",
            {f"{INDEX_LEGEND}: {{{{phase}}}}": f"{series('pg_index_build_phase')} == 1"},
            {"1": ("running", "blue")},
        ),
        graph(
            "Done in the current phase",
            "Share of the blocks and tuples of the current phase; phases that count neither show nothing.",
            {f"blocks {INDEX_LEGEND}": share("blocks"), f"tuples {INDEX_LEGEND}": share("tuples")},
            unit="percentunit",
            maximum=1,
        ),
        graph(
            "Blocks of the current phase",
            "Blocks processed and to process; the total falls when the next phase begins.",
            done_and_total("blocks"),
            unit="short",
            span=8,
        ),
        graph(
            "Tuples of the current phase",
            "Tuples processed and to process.",
            done_and_total("tuples"),
            unit="short",
            span=8,
        ),
        graph(
            "Sessions waited for",
            "Transactions that a concurrent build must wait for, and those that have ended.",
            done_and_total("lockers"),
            unit="none",
            span=8,
        ),
        graph(
            "Done of the whole build",
            "By typical weights of the phases. It does not change while the build waits.",
            {INDEX_LEGEND: series("pg_index_build_progress_ratio")},
            unit="percentunit",
            maximum=1,
            span=8,
        ),
        graph(
            "Age of the transaction waited for",
            "The oldest transaction that the build waits for now.",
            {INDEX_LEGEND: series("pg_index_build_blocker_age_seconds")},
            unit="s",
            span=8,
        ),
        graph(
            "Sessions behind a build",
            "Sessions that wait for the build, directly or behind another session. Readers are stopped while"
            " a session that needs the table exclusively waits: all others queue behind it.",
            {
                f"waiting {INDEX_LEGEND}": series("pg_index_build_waiters"),
                f"readers stopped {INDEX_LEGEND}": series("pg_index_build_stops_readers"),
            },
            unit="none",
            span=8,
        ),
    )


def declared(expr: str) -> str:
    """Only the declared ones of the indexes in `expr`."""
    return f"{expr} and on ({INDEX}) {series('pg_index_declared')}"


def of_cluster(expr: str, labels: str) -> str:
    """The sum of `expr` over the servers of one cluster, the primary and its standbys."""
    return (
        f"sum by (system_identifier, {labels}) (({expr})"
        f" * on ({SERVER}) group_left (system_identifier) {series('pg_system_info')})"
    )


def unused_indexes() -> str:
    """The number of declared indexes that are unused by their counters alone.

    The index was valid an hour ago, none of the selected servers scanned it since, and its table was
    read more than 100 times. Absent, not 0, while no index has an hour of history.
    """
    scans = of_cluster(
        f"{last_hour('pg_stat_user_indexes_idx_scan_total')}"
        f" and on ({INDEX}) {series('pg_index_declared', role='read')}"
        f" and on ({INDEX}) ({series('pg_index_valid')} offset 1h == 1)",
        "datname, schemaname, relname, indexname",
    )
    reads = of_cluster(table_reads(), "datname, schemaname, relname")
    return (
        f"sum(({scans} == bool 0)"
        f" * on (system_identifier, datname, schemaname, relname) group_left () ({reads} > bool 100))"
    )


def table_reads() -> str:
    """Reads of a table in the last hour, by whichever path."""
    return (
        f"{last_hour('pg_stat_user_tables_seq_scan_total')}"
        f" + {last_hour('pg_stat_user_tables_idx_scan_total')}"
    )


def on_index(expr: str) -> str:
    """A figure of the table, repeated for each declared index of it."""
    return f"{series('pg_index_declared')} * on ({TABLE}) group_left () ({expr})"
