"""Rows of watched indexes over time -> since when the counters of each are evidence.

The counters of an index count since the server's counters began, but no longer than the index exists. How
long it exists is known from the journal or from its catalogue row's commit; without those, only that it is
there since this process saw it first. No state is kept on disk: a restart moves that later, never earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import lt

from exporter.postgres.counters.figures import Value
from exporter.postgres.counters.indexes import IndexRow


@dataclass(frozen=True, slots=True)
class _Sighting:
    """What is remembered of an index; `restarted` is when it last showed that its counters began anew."""

    born: float
    restarted: float


class Births:
    """Since when each index of one database can have counted. Units: seconds, by the server's clock."""

    def __init__(self) -> None:
        self._sightings: dict[int, _Sighting] = {}
        self._rows: Sequence[IndexRow] = ()
        self._scans: Sequence[Value] = ()
        self._known: Mapping[int, float] = {}
        self._found: dict[int, float] = {}

    def unseen(self, rows: Sequence[IndexRow]) -> list[int]:
        """The oids of the indexes that were not observed before."""
        if rows is self._rows:
            return []
        return [row.indexrelid for row in rows if row.indexrelid not in self._sightings]

    def observe(
        self, rows: Sequence[IndexRow], scans: Sequence[Value], server_time: float, known: Mapping[int, float]
    ) -> Mapping[int, float]:
        """Since when each valid index counts, by its oid: the same object while that stays as it was.

        `scans` are of the rows in their order, `known` are recorded births. An index without
        counters, such as that of a partitioned table, counts nothing and is left out.
        """
        if rows is self._rows and known == self._known and self._goes_on(scans):
            self._scans = scans
            return self._found
        renewed = self._renewed(rows)
        before = {row.indexrelid: scan for row, scan in zip(self._rows, self._scans, strict=True)}
        sightings: dict[int, _Sighting] = {}
        found: dict[int, float] = {}
        for row, scan in zip(rows, scans, strict=True):
            if scan is None:
                continue
            oid = row.indexrelid
            previous = oid if oid in self._sightings else renewed.get(_name(row))
            counted = before.get(previous) if previous is not None else None
            # What took its place without a scan to take along looks as if it were created anew.
            if previous != oid and (counted is None or not 0 < counted <= scan):
                previous = None
            sighting = self._sight(previous, counted, row, scan, server_time, known.get(oid))
            sightings[oid] = sighting
            if row.indisvalid:
                found[oid] = max(sighting.born, sighting.restarted)
        self._sightings, self._rows, self._scans = sightings, rows, scans
        self._known, self._found = dict(known), found
        return found

    def _goes_on(self, scans: Sequence[Value]) -> bool:
        """True when every index is valid and none of their counters began anew: by far the most frequent."""
        return len(self._found) == len(scans) and not any(map(lt, scans, self._scans))  # type: ignore[arg-type]  # all are counted, else they were not found

    def _renewed(self, rows: Iterable[IndexRow]) -> dict[tuple[int, str, str], int]:
        """The indexes that are gone, by name: REINDEX CONCURRENTLY gives name and scans to another one."""
        present = {row.indexrelid for row in rows}
        return {_name(row): row.indexrelid for row in self._rows if row.indexrelid not in present}

    def _sight(
        self,
        previous: int | None,
        counted: Value,
        row: IndexRow,
        scan: float,
        server_time: float,
        known: float | None,
    ) -> _Sighting:
        before = self._sightings.get(previous) if previous is not None else None
        if before is None:
            born, restarted = (server_time if known is None else known), 0.0
        else:
            born = before.born if known is None else min(before.born, known)
            began_anew = counted is not None and scan < counted
            restarted = server_time if began_anew else before.restarted
        # What is not valid cannot be used: its time does not count.
        return _Sighting(born, restarted if row.indisvalid else server_time)


def _name(row: IndexRow) -> tuple[int, str, str]:
    return row.relid, row.schemaname, row.indexname
