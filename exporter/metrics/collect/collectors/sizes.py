"""The sizes of the watched relations."""

from __future__ import annotations

import time
from dataclasses import replace

import psycopg

from exporter.metrics.collect.collectors.indexes import UNKNOWN_INDEXES
from exporter.metrics.collect.context import Collected, DatabaseContext, Steps, Turn
from exporter.metrics.collect.size_cache import WRITES, SizeCache, SizesRead
from exporter.metrics.snapshot import Watched
from exporter.postgres.counters.sizes import relation_sizes
from exporter.postgres.requests import ask

# Of the time that is left at the start of this collector, the share that it may take.
TIME_SHARE = 0.5


class SizesCollector:
    """Collects the sizes that can have changed. Last, because reading one waits for locks."""

    name = "sizes"

    def __init__(self) -> None:
        self._cache = SizeCache()

    def collect(self, context: DatabaseContext) -> Steps:
        """The steps of one collection."""
        yield Turn.ALONE
        try:
            read = self._read(context)
        except psycopg.errors.LockNotAvailable:
            # Locked after we had looked whether it was; now it is seen and skipped.
            read = self._read(context)
        snapshot = replace(context.snapshot, sizes=read.sizes)
        if snapshot.indexes is None or snapshot.tables is None:
            return Collected(snapshot, UNKNOWN_INDEXES)
        if read.unread:
            gap = f"there was no time for the sizes of {read.unread} relations; they are read next"
            return Collected(snapshot, gap)
        return Collected(snapshot, f"{read.missing} relations are locked or gone" if read.missing else None)

    def _read(self, context: DatabaseContext) -> SizesRead:
        snapshot = context.snapshot
        now = time.monotonic()
        return self._cache.read(
            snapshot.indexes.rows if snapshot.indexes is not None else (),
            snapshot.tables or Watched((), dict.fromkeys(WRITES, ())),
            snapshot.locked or (),
            # A standby counts nothing of what its primary writes.
            shows_writes=snapshot.facts is not None and not snapshot.facts.in_recovery,
            until=now + (context.limit.deadline - now) * TIME_SHARE,
            read_sizes=lambda oids: ask(context.connection, relation_sizes(oids)),
        )
