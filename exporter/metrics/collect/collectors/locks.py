"""The relations that are locked against reading their size."""

from __future__ import annotations

from dataclasses import replace

from exporter.metrics.collect.context import Collected, DatabaseContext, Steps
from exporter.postgres.counters.sizes import LOCKED_RELATIONS


class LocksCollector:
    """Collects the relations under an AccessExclusiveLock, held or awaited."""

    name = "locks"

    def collect(self, context: DatabaseContext) -> Steps:
        """The steps of one collection."""
        answers = yield (LOCKED_RELATIONS,)
        locked = frozenset(row.relid for row in answers.of(LOCKED_RELATIONS))
        return Collected(replace(context.snapshot, locked=locked))
