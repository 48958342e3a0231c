"""Rows of watched indexes over time -> since when the counters of each are evidence.

The counters of an index count since the server's counters began, but no longer than the index exists. How
long it exists is known from the journal or from its catalogue row's commit; without those, only that it is
there since this process saw it first. No state is kept on disk: a restart moves that later, never earlier.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from exporter.metrics.snapshot import IndexRow


@dataclass(frozen=True, slots=True)
class _Sighting:
    """What is remembered of an index; `restarted` is when it last showed that its counters began anew."""

    born: float
    restarted: float
    idx_scan: int
    indexrelid: int


class Births:
    """Since when each index of one database can have counted. Units: seconds, by the server's clock."""

    def __init__(self) -> None:
        self._sightings: dict[int, _Sighting] = {}
        self._by_name: dict[tuple[int, str, str], _Sighting] = {}

    def unseen(self, rows: Iterable[IndexRow]) -> list[int]:
        """The oids of the indexes that were not observed before."""
        return [row.indexrelid for row in rows if row.indexrelid not in self._sightings]

    def observe(
        self, rows: Collection[IndexRow], server_time: float, known: Mapping[int, float]
    ) -> dict[int, float]:
        """Since when each valid index counts, by its oid; `known` are births that somebody recorded.

        An index without counters, such as that of a partitioned table, counts nothing and is left out.
        """
        sightings: dict[int, _Sighting] = {}
        by_name: dict[tuple[int, str, str], _Sighting] = {}
        present = {row.indexrelid for row in rows}
        found: dict[int, float] = {}
        for row in rows:
            if row.idx_scan is None:
                continue
            sighting = self._sight(row, row.idx_scan, server_time, known.get(row.indexrelid), present)
            sightings[row.indexrelid] = by_name[_name(row)] = sighting
            if row.indisvalid:
                found[row.indexrelid] = max(sighting.born, sighting.restarted)
        self._sightings, self._by_name = sightings, by_name
        return found

    def _sight(
        self, row: IndexRow, idx_scan: int, server_time: float, known: float | None, present: Collection[int]
    ) -> _Sighting:
        before = self._sightings.get(row.indexrelid) or self._renewed(row, idx_scan, present)
        if before is None:
            born = server_time if known is None else known
            restarted = 0.0
        else:
            born = before.born if known is None else min(before.born, known)
            restarted = server_time if idx_scan < before.idx_scan else before.restarted
        # What is not valid cannot be used: its time does not count.
        restarted = restarted if row.indisvalid else server_time
        return _Sighting(born, restarted, idx_scan, row.indexrelid)

    def _renewed(self, row: IndexRow, idx_scan: int, present: Collection[int]) -> _Sighting | None:
        """The index that REINDEX CONCURRENTLY replaced by this one, taking its scans along.

        Without a scan to take along it looks like an index that was dropped and created anew.
        """
        before = self._by_name.get(_name(row))
        if before is None or before.indexrelid in present or not 0 < before.idx_scan <= idx_scan:
            return None
        return before


def _name(row: IndexRow) -> tuple[int, str, str]:
    return row.relid, row.schemaname, row.indexname
