"""Is an index as the journal's canonical definition of it says?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.model import RelationName
from exporter.postgres.counters.indexes import IndexRow

# A renamed column changes a definition but not the index's catalogue rows.
AGE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class KnownDefinition:
    """A definition as it was read. Units: seconds of a monotonic clock."""

    catalogue_version: str
    read_at: float
    text: str


def indexes_with_definition(
    rows: Iterable[IndexRow], canonical: Mapping[RelationName, str]
) -> dict[RelationName, IndexRow]:
    """The indexes of which a canonical definition is known, by their names."""
    if not canonical:
        return {}
    indexnames = {name.relname for name in canonical}
    present = (row for row in rows if row.indexname in indexnames)
    named = {RelationName(row.schemaname, row.indexname): row for row in present}
    return {name: named[name] for name in canonical if name in named}


def stale_definitions(
    rows: Iterable[IndexRow], known: Mapping[int, KnownDefinition], now: float
) -> list[int]:
    """The oids of the indexes whose definition can have changed since it was read."""
    return [
        row.indexrelid
        for row in rows
        if (definition := known.get(row.indexrelid)) is None
        or definition.catalogue_version != row.catalogue_version
        or now - definition.read_at >= AGE_SECONDS
    ]


def matching_definitions(
    rows: Mapping[RelationName, IndexRow],
    canonical: Mapping[RelationName, str],
    known: Mapping[int, KnownDefinition],
) -> dict[RelationName, bool]:
    """Whether each index is as its canonical definition says; without those whose definition is not known."""
    matches: dict[RelationName, bool] = {}
    for name, row in rows.items():
        definition = known.get(row.indexrelid)
        if definition is not None and definition.catalogue_version == row.catalogue_version:
            matches[name] = definition.text == canonical[name]
    return matches
