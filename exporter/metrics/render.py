"""TargetSnapshot -> page: pure, family by family in the catalogue's order.

prometheus_client needs 40 microseconds a sample because it sorts, checks and escapes every label of every
sample. Here label blocks are built once and kept from page to page, and so are whole families that did not
change (`columns`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from types import MappingProxyType

from exporter.metrics.catalogue import (
    COLLECTOR,
    DATABASE,
    DECLARED,
    EXPORTER_METRICS,
    INDEX,
    METRICS,
    STATEMENT,
    TABLE,
    TARGET_METRICS,
    Metric,
    Scope,
)
from exporter.metrics.columns import Column, ColumnCache, lines
from exporter.metrics.page import PageFormat
from exporter.metrics.segment import Segment
from exporter.metrics.snapshot import (
    DatabaseSnapshot,
    ExporterFacts,
    IndexRow,
    TableRow,
    TargetSnapshot,
    Value,
)
from exporter.model import DeclaredIndex
from exporter.postgres.progress import BuildProgress

Sample = tuple[str, Value]
Samples = Iterable[Sample]

# Fewer than these are written and compressed together with their neighbours.
SEGMENT_LINES = 100

# pg_constraint.contype in words; an index without a constraint has an empty label.
CONSTRAINTS = MappingProxyType({"p": "primary_key", "u": "unique", "x": "exclusion"})


class LabelBlocks:
    """Label blocks by their names and values, kept while the last two pages used them."""

    def __init__(self) -> None:
        self._now: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}
        self._before: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}

    def block(self, names: tuple[str, ...], values: tuple[str, ...]) -> str:
        """The block `{name="value",…}`, empty without labels."""
        key = (names, values)
        block = self._now.get(key)
        if block is None:
            block = self._before.get(key)
            if block is None:
                block = label_block(names, values)
            self._now[key] = block
        return block

    def end_page(self) -> None:
        """Forgets what this page and the one before did not use."""
        self._before, self._now = self._now, {}


def label_block(names: Sequence[str], values: Sequence[str]) -> str:
    """The labels as both formats write them, whatever characters the values hold."""
    if not names:
        return ""
    pairs = (f'{name}="{escape(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def escape(value: str) -> str:
    """A label value as it stands between double quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def render(snapshot: TargetSnapshot, page_format: PageFormat, cache: RenderCache) -> tuple[Segment, ...]:
    """The families of one target, without the mark that ends an OpenMetrics page."""
    databases = [_DatabaseSamples(database, cache) for database in snapshot.databases]
    wide = _target_wide(snapshot)
    segments: list[Segment] = []
    parts: list[str] = []
    for metric in METRICS:
        columns = [column for database in databases if (column := database.column(metric)) is not None]
        if sum(len(column.values) for column in columns) >= SEGMENT_LINES:
            parts += _header(metric, page_format)
            segments += (Segment.of("".join(parts).encode()), cache.columns.segment(metric.name, columns))
            parts = []
        elif columns:
            found = "".join(lines(metric.name, columns))
            parts += (*_header(metric, page_format), found) if found else ()
        else:
            per_database = chain.from_iterable(database.family(metric) for database in databases)
            _append_family(parts, metric, chain(wide.get(metric.name, ()), per_database), page_format)
    cache.end_page()
    return (*segments, Segment.of("".join(parts).encode()))


def render_exporter(facts: ExporterFacts, page_format: PageFormat) -> bytes:
    """The families about the exporter itself."""
    parts: list[str] = []
    for metric in EXPORTER_METRICS:
        block = label_block(metric.labels, [getattr(facts, name) for name in metric.labels])
        value = 1 if metric.kind == "info" else getattr(facts, metric.field)
        _append_family(parts, metric, [(block, value)], page_format)
    return "".join(parts).encode()


def _append_family(parts: list[str], metric: Metric, samples: Samples, page_format: PageFormat) -> None:
    name = metric.name
    # `+value` makes a number of a bool; an int stays exact, a float's text reads back as itself.
    lines = [f"{name}{block} {+value}\n" for block, value in samples if value is not None]
    if not lines:
        return
    parts += _header(metric, page_format)
    parts += lines


def _header(metric: Metric, page_format: PageFormat) -> list[str]:
    text = metric.help_text.replace("\\", "\\\\").replace("\n", "\\n")
    if page_format is PageFormat.TEXT:
        kind = "counter" if metric.kind == "counter" else "gauge"
        return [f"# HELP {metric.name} {text}\n", f"# TYPE {metric.name} {kind}\n"]
    family = metric.name.removesuffix({"counter": "_total", "info": "_info"}.get(metric.kind, ""))
    quoted = text.replace('"', '\\"')
    unit = [f"# UNIT {family} {metric.unit}\n"] if metric.unit else []
    return [f"# TYPE {family} {metric.kind}\n", *unit, f"# HELP {family} {quoted}\n"]


class RenderCache:
    """What a page takes over from those before it, for one target."""

    def __init__(self) -> None:
        self.blocks = LabelBlocks()
        self.columns = ColumnCache()

    def end_page(self) -> None:
        """Forgets what is no longer used."""
        self.blocks.end_page()
        self.columns.end_page()


class _DatabaseSamples:
    """The samples of one database by family; a block that several families share is looked up once."""

    def __init__(self, database: DatabaseSnapshot, cache: RenderCache) -> None:
        self._database = database
        self._blocks = blocks = cache.blocks
        self._columns = cache.columns
        self._indexes = database.indexes.rows if database.indexes is not None else ()
        self._tables = database.tables.rows if database.tables is not None else ()
        datname = database.datname
        self._statement_blocks = [
            blocks.block(STATEMENT, (datname, row.user, str(row.queryid), _truth(row.toplevel)))
            for row in database.statements or ()
        ]
        self._declared_blocks = [
            blocks.block(INDEX, (datname, index.table.schemaname, index.table.relname, index.name))
            for index in database.declared
        ]
        names = {index.name for index in database.declared}
        self._present = {
            (row.schemaname, row.relname, row.indexname) for row in self._indexes if row.indexname in names
        }
        self._by_scope: Mapping[Scope, Callable[[Metric], Samples]] = {
            "declared": self._declared,
            "build": self._builds,
            "statement": self._statement,
            "target": self._target,
        }

    def family(self, metric: Metric) -> Samples:
        """The samples of one family; none of a family that this database has no part in."""
        by_scope = self._by_scope.get(metric.scope)
        return () if by_scope is None else by_scope(metric)

    def column(self, metric: Metric) -> Column | None:
        """A family with a sample for every index or table; None of another, and where no value is known."""
        datname = self._database.datname
        if metric.scope == "index" and metric.field == "info":
            ones = [1] * len(self._indexes)
            column = Column(datname, self._indexes, ones, lambda: self._info_blocks(metric))
        elif metric.scope == "index":
            column = Column(datname, self._indexes, self._of_indexes(metric.field), self._index_blocks)
        elif metric.scope == "table":
            column = Column(datname, self._tables, self._of_tables(metric.field), self._table_blocks)
        else:
            return None
        return column if column.values.count(None) < len(column.values) else None

    def _of_indexes(self, field: str) -> Sequence[Value]:
        database, rows = self._database, self._indexes
        if field == "size_bytes":
            return [database.sizes.get(row.indexrelid) for row in rows]
        if field == "observed_since":
            return [database.observed_since.get(row.indexrelid) for row in rows]
        if field == "locked":
            return self._locked()
        if database.indexes is not None and field in database.indexes.figures:
            return database.indexes.figures[field]
        return [int(flag) for flag in map(attrgetter(field), rows)]

    def _of_tables(self, field: str) -> Sequence[Value]:
        database = self._database
        if field == "size_bytes":
            return [database.sizes.get(row.relid) for row in self._tables]
        return database.tables.figures[field] if database.tables is not None else ()

    def _locked(self) -> Sequence[Value]:
        locked, rows = self._database.locked, self._indexes
        if not locked:
            return [None if locked is None else 0] * len(rows)
        return [int(row.indexrelid in locked or row.relid in locked) for row in rows]

    def _index_blocks(self) -> Sequence[str]:
        datname, rows = self._database.datname, self._indexes

        def make() -> list[str]:
            names = ((datname, row.schemaname, row.relname, row.indexname) for row in rows)
            return [label_block(INDEX, values) for values in names]

        return self._columns.labels("index", datname, rows, make)

    def _table_blocks(self) -> Sequence[str]:
        datname, rows = self._database.datname, self._tables

        def make() -> list[str]:
            return [label_block(TABLE, (datname, row.schemaname, row.relname)) for row in rows]

        return self._columns.labels("table", datname, rows, make)

    def _info_blocks(self, metric: Metric) -> Sequence[str]:
        return [label_block(metric.labels, self._info(row)) for row in self._indexes]

    def _info(self, row: IndexRow) -> Sequence[str]:
        return (
            *(self._database.datname, row.schemaname, row.relname, row.indexname, row.method),
            *(_truth(row.indisunique), _truth(row.indisprimary)),
            CONSTRAINTS.get(row.contype or "", ""),
            *(_truth(row.is_partial), _truth(row.is_expression)),
        )

    def _declared(self, metric: Metric) -> Samples:
        if metric.field == "parents":
            return self._partitions(metric)
        if metric.field == "declared":
            return [(self._declared_block(index), 1) for index in self._database.declared]
        of = self._is_present if metric.field == "present" else self._matches
        return zip(self._declared_blocks, map(of, self._database.declared), strict=True)

    def _declared_block(self, index: DeclaredIndex) -> str:
        names = (index.table.schemaname, index.table.relname, index.name)
        return self._blocks.block(DECLARED, (self._database.datname, *names, index.role.value))

    def _is_present(self, index: DeclaredIndex) -> Value:
        if self._database.indexes is None:
            return None
        return (index.table.schemaname, index.table.relname, index.name) in self._present

    def _matches(self, index: DeclaredIndex) -> Value:
        return self._database.definition_matches.get(index.relation)

    def _partitions(self, metric: Metric) -> Iterator[Sample]:
        leaves = [row for row in self._indexes if row.parents]
        by_oid = {row.indexrelid: row for row in self._indexes} if leaves else {}
        for row in leaves:
            for oid in row.parents or ():
                parent = by_oid[oid]
                names = (row.schemaname, row.relname, row.indexname)
                parents = (parent.schemaname, parent.relname, parent.indexname)
                yield self._blocks.block(metric.labels, (self._database.datname, *names, *parents)), 1

    def _builds(self, metric: Metric) -> Samples:
        tables = self._names_of_tables() if self._database.builds else {}
        builds = [(build, _built(build, tables)) for build in self._database.builds or ()]
        datname = self._database.datname
        if metric.field == "phase":
            blocks = (
                self._blocks.block(metric.labels, (datname, *names, build.phase or ""))
                for build, built in builds
                for names in built
            )
            # Two builds of which the server names no index are one series.
            return [(block, 1) for block in dict.fromkeys(blocks)]
        return [
            (self._blocks.block(metric.labels, (datname, *built[0])), getattr(build, metric.field))
            for build, built in builds
            if build.indexname is not None and build.relid in tables
        ]

    def _names_of_tables(self) -> dict[int | None, tuple[str, str]]:
        rows: Iterable[TableRow | IndexRow] = chain(self._tables, self._indexes)
        return {row.relid: (row.schemaname, row.relname) for row in rows}

    def _statement(self, metric: Metric) -> Samples:
        if metric.field == "query":
            return [
                (self._blocks.block(metric.labels, (self._database.datname, str(queryid), text)), 1)
                for queryid, text in self._database.query_texts.items()
            ]
        values = map(attrgetter(metric.field), self._database.statements or ())
        return zip(self._statement_blocks, values, strict=True)

    def _target(self, metric: Metric) -> Samples:
        database = self._database
        if metric.labels == COLLECTOR:
            value = attrgetter(metric.field)
            return [
                (self._blocks.block(COLLECTOR, (outcome.collector, database.datname)), value(outcome))
                for outcome in database.outcomes
            ]
        if metric.labels == DATABASE:
            values: Mapping[str, Value] = {
                "database_up": database.up,
                "indexes_cut": database.indexes_cut,
                "statements_cut": database.statements_cut,
            }
            return [(self._blocks.block(DATABASE, (database.datname,)), values[metric.field])]
        return ()


def _target_wide(snapshot: TargetSnapshot) -> dict[str, list[Sample]]:
    """The samples that a target has once, by family; facts are from the first database that knows them."""
    found: dict[str, list[Sample]] = {
        "pg_index_exporter_target_up": [("", snapshot.up)],
        "pg_index_exporter_scrape_duration_seconds": [("", snapshot.scrape_duration_seconds)],
        "pg_index_exporter_databases_cut": [("", snapshot.databases_cut)],
    }
    if snapshot.discovery is not None:
        outcome = snapshot.discovery
        block = label_block(COLLECTOR, (outcome.collector, snapshot.maintenance_datname))
        for metric in TARGET_METRICS:
            if metric.labels == COLLECTOR:
                found[metric.name] = [(block, getattr(outcome, metric.field))]
    for database in snapshot.databases:
        facts, info = database.facts, database.statements_info
        if facts is not None and facts.system_identifier is not None:
            identity = (facts.system_identifier, facts.server_version)
            block = label_block(("system_identifier", "version"), identity)
            found.setdefault("pg_system_info", [(block, 1)])
        if facts is not None:
            found.setdefault("pg_in_recovery", [("", facts.in_recovery)])
            found.setdefault("pg_stat_replication_walsenders", [("", database.walsenders)])
        if info is not None:
            found.setdefault("pg_stat_statements_dealloc_total", [("", info.dealloc)])
            reset = "pg_stat_statements_stats_reset_timestamp_seconds"
            found.setdefault(reset, [("", info.stats_reset)])
    return found


def _built(build: BuildProgress, tables: Mapping[int | None, tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Schema, table and index of a build, then the tables above it, as far as they are watched."""
    found = [(build.relid, build.indexname or ""), *((oid, "") for oid in build.ancestors)]
    return [(*tables[oid], indexname) for oid, indexname in found if oid in tables]


def _truth(value: bool | None) -> str:
    return "" if value is None else str(value).lower()
