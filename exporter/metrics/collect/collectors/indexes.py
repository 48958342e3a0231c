"""The watched indexes and their counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exporter.metrics.collect.context import Collected, DatabaseContext, Steps, Turn
from exporter.metrics.collect.row_cache import RowCache, one_snapshot
from exporter.model import DeclaredIndex, RelationName
from exporter.postgres.counters.indexes import IndexRow, index_count, index_figures, index_rows
from exporter.postgres.requests import ask

UNKNOWN_INDEXES = "the watched indexes are not known"


class IndexesCollector:
    """Collects the counters of at most `max_indexes` undeclared indexes, and of all declared ones."""

    name = "indexes"

    def __init__(self, max_indexes: int) -> None:
        self._max_indexes = max_indexes
        self._cache: RowCache[IndexRow] = RowCache()

    def collect(self, context: DatabaseContext) -> Steps:
        """The steps of one collection."""
        declared, watch = context.database.declared, context.database.watch
        names = [index.relation for index in declared]
        request = index_figures(names, watch, self._max_indexes)
        watched = None
        if self._cache.is_filled:
            answers = yield (request,)
            (row,) = answers.of(request)
            watched = self._cache.unchanged(row.figures)
        if watched is None:
            yield Turn.ALONE
            with one_snapshot(context.connection):
                (row,) = ask(context.connection, request)
                oids = row.figures.oids
                rows = ask(context.connection, index_rows(names, oids)) if oids else []
            watched = self._cache.renew(row.figures, {row.indexrelid: row for row in rows})
        others = _count_others(watched.rows, declared) if len(watched.rows) >= self._max_indexes else 0
        cut = 0
        if others and others >= self._max_indexes:
            count = index_count(names, watch)
            answers = yield (count,)
            cut = max(0, answers.of(count)[0].indexes - others)
        return Collected(replace(context.snapshot, indexes=watched, indexes_cut=cut))


def _count_others(rows: Sequence[IndexRow], declared: Sequence[DeclaredIndex]) -> int:
    """How many are neither declared nor leaves of a declared index."""
    names = {index.relation for index in declared}
    return sum(
        row.parents is None and RelationName(row.schemaname, row.indexname) not in names for row in rows
    )
