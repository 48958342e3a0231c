"""Definitions of indexes, asked for when they can have changed, beside those that the journal holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporter.metrics.snapshot import IndexRow
from exporter.model import RelationName

# A renamed column changes a definition but not the index's catalogue rows.
AGE_SECONDS = 60.0

ReadDefinitions = Callable[[Sequence[int]], Mapping[int, str]]


@dataclass(frozen=True, slots=True)
class _Definition:
    catalogue_version: str
    read_at: float
    text: str


class Definitions:
    """The definitions of one database's declared indexes."""

    def __init__(self) -> None:
        self._known: dict[int, _Definition] = {}

    def compare(
        self,
        rows: Iterable[IndexRow],
        canonical: Mapping[RelationName, str],
        read_definitions: ReadDefinitions,
    ) -> tuple[Mapping[RelationName, bool], int]:
        """Whether each index is as its canonical form says, and how many are locked or gone."""
        if not canonical:
            self._known = {}
            return {}, 0
        indexnames = {name.relname for name in canonical}
        present = (row for row in rows if row.indexname in indexnames)
        named = {RelationName(row.schemaname, row.indexname): row for row in present}
        wanted = {name: named[name] for name in canonical if name in named}
        now = time.monotonic()
        stale = [row.indexrelid for row in wanted.values() if not self._is_fresh(row, now)]
        texts = read_definitions(stale) if stale else {}
        for row in wanted.values():
            if row.indexrelid in texts:
                self._known[row.indexrelid] = _Definition(row.catalogue_version, now, texts[row.indexrelid])
        matches: dict[RelationName, bool] = {}
        for name, row in wanted.items():
            known = self._known.get(row.indexrelid)
            if known is not None and known.catalogue_version == row.catalogue_version:
                matches[name] = known.text == canonical[name]
        kept = {row.indexrelid for row in wanted.values()}
        self._known = {oid: known for oid, known in self._known.items() if oid in kept}
        return matches, len(wanted) - len(matches)

    def _is_fresh(self, row: IndexRow, now: float) -> bool:
        known = self._known.get(row.indexrelid)
        return (
            known is not None
            and known.catalogue_version == row.catalogue_version
            and now - known.read_at < AGE_SECONDS
        )
