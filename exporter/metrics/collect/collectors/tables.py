"""The tables of the watched indexes, those that manifests name, and their counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exporter.metrics.collect.collectors.indexes import UNKNOWN_INDEXES
from exporter.metrics.collect.context import Collected, DatabaseContext, Steps, Turn
from exporter.metrics.collect.row_cache import RowCache, one_snapshot
from exporter.postgres.counters.indexes import IndexRow
from exporter.postgres.counters.tables import TableRow, table_figures, table_rows
from exporter.postgres.requests import ask


class TablesCollector:
    """Collects the counters of tables."""

    name = "tables"

    def __init__(self) -> None:
        self._cache: RowCache[TableRow] = RowCache()
        self._indexes: Sequence[IndexRow] = ()
        self._relids: list[int] = []

    def collect(self, context: DatabaseContext) -> Steps:
        """The steps of one collection."""
        names = sorted({index.table for index in context.database.declared})
        watched = None
        if self._cache.is_filled:
            # Sent before it is known whether the indexes are still the same.
            request = table_figures(self._relids, names)
            answers = yield (request,)
            indexes = context.snapshot.indexes
            if indexes is not None and indexes.rows is self._indexes:
                watched = self._cache.unchanged(answers.of(request)[0].figures)
        if watched is None:
            yield Turn.ALONE
            self._follow(context)
            with one_snapshot(context.connection):
                (row,) = ask(context.connection, table_figures(self._relids, names))
                oids = row.figures.oids
                rows = ask(context.connection, table_rows(oids)) if oids else []
            watched = self._cache.unchanged(row.figures)
            if watched is None:
                watched = self._cache.renew(row.figures, {row.relid: row for row in rows})
        gap = UNKNOWN_INDEXES if context.snapshot.indexes is None else None
        return Collected(replace(context.snapshot, tables=watched), gap)

    def _follow(self, context: DatabaseContext) -> None:
        """Takes the tables of the indexes that are watched now."""
        indexes = context.snapshot.indexes
        rows = indexes.rows if indexes is not None else ()
        if rows is not self._indexes:
            self._indexes, self._relids = rows, sorted({row.relid for row in rows})
