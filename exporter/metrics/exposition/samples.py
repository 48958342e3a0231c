"""DatabaseSnapshot -> the samples of each family.

Those that every index or every table has come as columns, the others one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from operator import attrgetter
from types import MappingProxyType

from exporter.catalogue.metric import COLLECTOR, DATABASE, DECLARED, INDEX, STATEMENT, TABLE, Metric, Scope
from exporter.metrics.exposition.columns import Column, ColumnCache
from exporter.metrics.exposition.labels import LabelBlocks, label_block
from exporter.metrics.snapshot import DatabaseSnapshot
from exporter.model import DeclaredIndex
from exporter.postgres.builds.progress import BuildProgress
from exporter.postgres.counters.figures import Value
from exporter.postgres.counters.indexes import IndexRow
from exporter.postgres.counters.tables import TableRow

Sample = tuple[str, Value]
Samples = Iterable[Sample]

# pg_constraint.contype in words; an index without a constraint has an empty label.
CONSTRAINTS = MappingProxyType({"p": "primary_key", "u": "unique", "x": "exclusion"})


class DatabaseSamples:
    """The samples of one database by family; a label block that several families share is looked up once."""

    def __init__(self, database: DatabaseSnapshot, blocks: LabelBlocks, columns: ColumnCache) -> None:
        self._database = database
        self._blocks = blocks
        self._columns = columns
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
        self._by_scope: Mapping[Scope, Callable[[Metric], Samples]] = {
            "declared": self._declared,
            "build": self._builds,
            "statement": self._statement,
            "target": self._target,
        }

    def family(self, metric: Metric) -> Samples:
        """The samples of one family; none if this database has no part in it."""
        by_scope = self._by_scope.get(metric.scope)
        return () if by_scope is None else by_scope(metric)

    def has_figures(self, metric: Metric) -> bool:
        """True of a family of figures, once they are there: they come first, and they are what changes."""
        watched = {"index": self._database.indexes, "table": self._database.tables}.get(metric.scope)
        return watched is not None and metric.field in watched.figures

    def column(self, metric: Metric) -> Column | None:
        """A family with a sample for every index or table; None for other families."""
        datname, field = self._database.datname, metric.field
        if metric.scope == "index" and field == "info":
            rows = self._indexes
            return Column(datname, rows, None, lambda: [1] * len(rows), lambda: self._info_blocks(metric))
        if metric.scope == "index":
            source, values = self._of_indexes(field)
            return Column(datname, self._indexes, source, values, self._index_blocks)
        if metric.scope == "table":
            source, values = self._of_tables(field)
            return Column(datname, self._tables, source, values, self._table_blocks)
        return None

    def _of_indexes(self, field: str) -> tuple[object, Callable[[], Sequence[Value]]]:
        """What the values are made from besides the rows, and what makes them."""
        database, rows = self._database, self._indexes
        if field == "size_bytes":
            return database.sizes, lambda: [database.sizes.get(row.indexrelid) for row in rows]
        if field == "observed_since":
            since = database.observed_since
            return since, lambda: [since.get(row.indexrelid) for row in rows]
        if field == "locked":
            return database.locked, self._locked
        if database.indexes is not None and field in database.indexes.figures:
            figures = database.indexes.figures[field]
            return figures, lambda: figures
        return None, lambda: [int(flag) for flag in map(attrgetter(field), rows)]

    def _of_tables(self, field: str) -> tuple[object, Callable[[], Sequence[Value]]]:
        database, rows = self._database, self._tables
        if field == "size_bytes":
            return database.sizes, lambda: [database.sizes.get(row.relid) for row in rows]
        figures = database.tables.figures[field] if database.tables is not None else ()
        return figures, lambda: figures

    def _locked(self) -> Sequence[Value]:
        locked, rows = self._database.locked, self._indexes
        if not locked:
            return [None if locked is None else 0] * len(rows)
        return [int(row.indexrelid in locked or row.relid in locked) for row in rows]

    def _index_blocks(self) -> Sequence[str]:
        datname, rows = self._database.datname, self._indexes

        def make() -> list[str]:
            names = ((datname, row.schemaname, row.relname, row.indexname) for row in rows)
            return [label_block(INDEX, values) + " " for values in names]

        return self._columns.labels("index", datname, rows, make)

    def _table_blocks(self) -> Sequence[str]:
        datname, rows = self._database.datname, self._tables

        def make() -> list[str]:
            return [label_block(TABLE, (datname, row.schemaname, row.relname)) + " " for row in rows]

        return self._columns.labels("table", datname, rows, make)

    def _info_blocks(self, metric: Metric) -> Sequence[str]:
        return [label_block(metric.labels, self._info(row)) + " " for row in self._indexes]

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

    @cached_property
    def _present(self) -> set[tuple[str, str, str]]:
        """Schema, table and name of the indexes that have the name of a declared index."""
        names = {index.name for index in self._database.declared}
        found = (row for row in self._indexes if row.indexname in names)
        return {(row.schemaname, row.relname, row.indexname) for row in found}

    def _is_present(self, index: DeclaredIndex) -> Value:
        if self._database.indexes is None:
            return None
        return (index.table.schemaname, index.table.relname, index.name) in self._present

    def _matches(self, index: DeclaredIndex) -> Value:
        return self._database.definition_matches.get(index.relation)

    def _partitions(self, metric: Metric) -> Iterator[Sample]:
        # Only those of declared ones have any.
        leaves = [row for row in self._indexes if row.parents] if self._database.declared else []
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


def _built(build: BuildProgress, tables: Mapping[int | None, tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Schema, table and index of a build, then the tables above it, as far as they are watched."""
    found = [(build.relid, build.indexname or ""), *((oid, "") for oid in build.ancestors)]
    return [(*tables[oid], indexname) for oid, indexname in found if oid in tables]


def _truth(value: bool | None) -> str:
    return "" if value is None else str(value).lower()
