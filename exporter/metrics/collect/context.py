"""What bounds the collection of one database, and what it knows so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from exporter.metrics.snapshot import DatabaseSnapshot
from exporter.model import Database
from exporter.postgres.pipeline import Answers, Pipeline
from exporter.postgres.requests import Request
from exporter.postgres.target import Connection
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


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """When a collection ends: at its deadline (of time.monotonic()), or when it is stopped earlier."""

    deadline: float
    stop: threading.Event

    @property
    def is_over(self) -> bool:
        """True when no further statement may begin."""
        return self.stop.is_set() or time.monotonic() >= self.deadline


@dataclass(eq=False, slots=True)
class DatabaseContext:
    """One database's collection under way, as its collectors see it.

    `snapshot` is what is known so far; the collector that ends replaces it, and its name is in `ended`.
    """

    database: Database
    pipeline: Pipeline
    limit: Limit
    snapshot: DatabaseSnapshot
    ended: set[str] = field(default_factory=set)

    @property
    def connection(self) -> Connection:
        """The connection, for a collector that has it to itself."""
        return self.pipeline.connection


@dataclass(frozen=True, slots=True)
class Collected:
    """The snapshot with a collector's part, and the reason why something of that part is missing."""

    snapshot: DatabaseSnapshot
    gap: str | None = None


class Turn(Enum):
    """What a collector waits for when it asks nothing together with others."""

    # All collectors before it have ended: it has the connection to itself.
    ALONE = "alone"


# A collector yields the requests that it asks together with others, and receives their answers; without
# requests it waits until those of the others are answered. Or it yields its turn, and then asks over the
# connection of its context.
Steps = Generator[Sequence[Request[Any]] | Turn, Answers, Collected]


class Collector(Protocol):
    """Collects one part of a snapshot; keeps what it learns from one collection to the next."""

    @property
    def name(self) -> str:
        """The name in the catalogue of metrics."""
        ...

    def collect(self, context: DatabaseContext) -> Steps:
        """The steps of one collection.

        Raises: psycopg.Error, ExporterError when its whole part is missing.
        """
        ...
