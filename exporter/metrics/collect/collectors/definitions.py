"""Definitions of indexes beside those that the journal holds."""

from __future__ import annotations

import time
from dataclasses import replace

from exporter.evidence.definitions import (
    KnownDefinition,
    indexes_with_definition,
    matching_definitions,
    stale_definitions,
)
from exporter.metrics.collect.collectors.indexes import UNKNOWN_INDEXES
from exporter.metrics.collect.context import Collected, DatabaseContext, Steps, Turn
from exporter.postgres.counters.indexes import index_definitions
from exporter.postgres.requests import ask


class DefinitionsCollector:
    """Collects definitions that can have changed. Last, because reading one waits for locks."""

    name = "definitions"

    def __init__(self) -> None:
        self._known: dict[int, KnownDefinition] = {}

    def collect(self, context: DatabaseContext) -> Steps:
        """The steps of one collection."""
        yield Turn.ALONE
        snapshot = context.snapshot
        if snapshot.indexes is None:
            return Collected(snapshot, UNKNOWN_INDEXES)
        canonical = snapshot.journal.canonical if snapshot.journal is not None else {}
        rows = indexes_with_definition(snapshot.indexes.rows, canonical)
        now = time.monotonic()
        stale = stale_definitions(rows.values(), self._known, now)
        read = ask(context.connection, index_definitions(stale)) if stale else []
        texts = {row.indexrelid: row.definition for row in read}
        self._known = {
            row.indexrelid: KnownDefinition(row.catalogue_version, now, texts[row.indexrelid])
            if row.indexrelid in texts
            else self._known[row.indexrelid]
            for row in rows.values()
            if row.indexrelid in texts or row.indexrelid in self._known
        }
        matches = matching_definitions(rows, canonical, self._known)
        missing = len(rows) - len(matches)
        gap = f"{missing} indexes are locked or gone" if missing else None
        return Collected(replace(snapshot, definition_matches=matches), gap)
