"""What the journal says of the indexes that this tool built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.postgres.journal import JournalRelation
from exporter.postgres.requests import Request


@dataclass(frozen=True, slots=True)
class JournalDefinition:
    """The canonical definition of a declared index. Source: migration_events (our table)."""

    name: str
    index_name: str
    definition: str


@dataclass(frozen=True, slots=True)
class JournalBirth:
    """When this tool observed that an index it built was complete. Source: migration_events (our table)."""

    indexrelid: int
    built_at: float


def journal_relations(journal_schema: str) -> Request[JournalRelation]:
    """The relations that have the journal's names."""
    return Request("journal_relations", JournalRelation, {"schemaname": journal_schema})


def journal_definitions(journal_schema: str, migrations: Iterable[str]) -> Request[JournalDefinition]:
    """The canonical definitions that the journal holds for these migrations."""
    parameters = {"names": list(migrations)}
    return Request("journal_definitions", JournalDefinition, parameters, schemaname=journal_schema)


def journal_births(journal_schema: str, migrations: Iterable[str]) -> Request[JournalBirth]:
    """When each index that these migrations built was complete."""
    return Request("journal_births", JournalBirth, {"names": list(migrations)}, schemaname=journal_schema)
