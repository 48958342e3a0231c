"""A snapshot in the making, and what bounds the making."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from exporter.metrics.snapshot import (
    CollectorOutcome,
    IndexRow,
    StatementRow,
    StatementsInfo,
    TableRow,
    Watched,
)
from exporter.model import RelationName, ServerFacts
from exporter.postgres.builds.progress import BuildProgress
from exporter.settings.model import DEFAULTS


@dataclass(frozen=True, slots=True)
class CollectOptions:
    """What bounds a collection. Units: seconds, characters. `max_statements` 0 leaves statements out."""

    connect_timeout_seconds: float = DEFAULTS.connect_timeout_seconds
    statement_timeout_seconds: float = DEFAULTS.scrape_timeout_seconds
    max_indexes: int = DEFAULTS.max_indexes
    max_statements: int = DEFAULTS.max_statements
    query_text: bool = DEFAULTS.query_text
    query_text_length: int = DEFAULTS.query_text_length
    journal_schema: str = DEFAULTS.journal_schema


def _tell_nobody() -> None:
    """For whoever waits for the whole."""


class Draft:
    """A snapshot in the making; the collecting thread fills it, any thread may freeze it at any moment.

    `tell` is called, by that thread, when counters have come that are worth to be gone on with.
    """

    def __init__(self, tell: Callable[[], None] = _tell_nobody) -> None:
        self.tell = tell
        # Of time.monotonic(); the collection's.
        self.deadline = float("inf")
        self.answered = False
        self.lost = False
        # Nobody waits for it any more.
        self.cut = False
        self.outcomes: dict[str, CollectorOutcome] = {}
        self.facts: ServerFacts | None = None
        self.walsenders: int | None = None
        self.indexes: Watched[IndexRow] | None = None
        self.indexes_cut: int | None = None
        self.tables: Watched[TableRow] | None = None
        self.builds: tuple[BuildProgress, ...] | None = None
        self.canonical: Mapping[RelationName, str] = {}
        self.journal_births: Mapping[int, float] = {}
        self.observed_since: Mapping[int, float] = {}
        self.locked: Collection[int] | None = None
        self.definition_matches: Mapping[RelationName, bool] = {}
        self.sizes: Mapping[int, int] = {}
        self.statements: tuple[StatementRow, ...] | None = None
        self.statements_cut: int | None = None
        self.statements_info: StatementsInfo | None = None
        self.query_texts: Mapping[int, str] = {}

    @property
    def is_over(self) -> bool:
        """True when no further statement is to begin for it."""
        return self.cut or time.monotonic() >= self.deadline
