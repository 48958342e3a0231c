"""Since when the counters of each watched index count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import psycopg

from exporter.evidence.epoch import Births
from exporter.metrics.collect.collectors.indexes import UNKNOWN_INDEXES
from exporter.metrics.collect.context import Collected, DatabaseContext, Steps, Turn
from exporter.postgres.counters.indexes import commit_times
from exporter.postgres.requests import ask
from exporter.postgres.server.statistics import COUNTERS_EPOCH
from exporter.postgres.target import Connection


class EpochCollector:
    """Collects the epoch, after the counters: of a reset in between, the later moment is the safe one."""

    name = "epoch"

    def __init__(self) -> None:
        self._births = Births()
        self._observed: tuple[Mapping[int, float], float, Mapping[int, float]] = ({}, 0.0, {})

    def collect(self, context: DatabaseContext) -> Steps:
        """The steps of one collection."""
        answers = yield (COUNTERS_EPOCH,)
        (epoch,) = answers.of(COUNTERS_EPOCH)
        if "indexes" not in context.ended:
            yield Turn.ALONE
            (epoch,) = ask(context.connection, COUNTERS_EPOCH)
        while "journal" not in context.ended:
            yield ()
        indexes, journal = context.snapshot.indexes, context.snapshot.journal
        if indexes is None:
            return Collected(context.snapshot, UNKNOWN_INDEXES)
        known = dict(journal.births) if journal is not None else {}
        unseen = [oid for oid in self._births.unseen(indexes.rows) if oid not in known]
        if unseen:
            yield Turn.ALONE
            known |= _read_commit_times(context.connection, unseen)
        scans = indexes.figures["idx_scan"]
        births = self._births.observe(indexes.rows, scans, epoch.server_time, known)
        if epoch.counters_since is None:
            return Collected(context.snapshot, "the server does not say since when its counters count")
        observed = self._clamped(births, epoch.counters_since)
        return Collected(replace(context.snapshot, observed_since=observed))

    def _clamped(self, births: Mapping[int, float], counters_since: float) -> Mapping[int, float]:
        """The births, none before the counters' own beginning; made anew when either changed."""
        if self._observed[0] is not births or self._observed[1] != counters_since:
            observed = {oid: max(born, counters_since) for oid, born in births.items()}
            self._observed = (births, counters_since, observed)
        return self._observed[2]


def _read_commit_times(connection: Connection, indexrelids: Sequence[int]) -> dict[int, float]:
    """When each index was committed, by oid, for those of which the server still knows it."""
    try:
        rows = ask(connection, commit_times(indexrelids))
    except psycopg.errors.ObjectNotInPrerequisiteState:
        # A standby keeps them if its primary does, whatever its own setting says.
        return {}
    return {row.indexrelid: row.committed_at for row in rows if row.committed_at is not None}
