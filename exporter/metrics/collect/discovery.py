"""Which databases of a target are collected: those with a name, and those that its patterns match now.

The server says which exist. While it does not answer, its last answer applies.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from exporter.catalogue.metrics import DISCOVERY
from exporter.errors import TargetError
from exporter.metrics.snapshot import CollectorOutcome
from exporter.model import Database, Target
from exporter.postgres.server.discovery import match_databases

NOT_ANSWERED = "did not answer before the deadline"


class DatabaseOids(Protocol):
    """A source of database OIDs."""

    def read_databases(self) -> Mapping[str, int]:
        """The oid of each database by its name. Raises: TargetError."""
        ...


class Question:
    """The question which databases there are; asked in a thread, its answer is read in any."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.oids: Mapping[str, int] | None = None
        self.reason: str | None = NOT_ANSWERED
        self.hint: str | None = None

    def ask(self, source: DatabaseOids) -> None:
        """Ask, and keep the answer or why there is none."""
        try:
            self.oids = source.read_databases()
        except TargetError as error:
            self.reason, self.hint = error.what, error.hint
        else:
            self.reason = self.hint = None

    @property
    def seconds(self) -> float:
        """How long ago it was first asked."""
        return time.monotonic() - self._started


@dataclass(frozen=True, slots=True)
class Discovery:
    """The databases of one target as the server said last: `oids` by name, None before it ever did.

    `outcome` says how asking it ended, `databases_cut` how many are left out because of a limit.
    """

    oids: Mapping[str, int] | None = None
    matched: tuple[Database, ...] = ()
    databases_cut: int | None = None
    outcome: CollectorOutcome | None = None

    def after(self, question: Question, target: Target, max_databases: int) -> Discovery:
        """What is known once the question was asked."""
        before = self.outcome
        success = question.reason is None
        last_success = time.time() if success else (before.last_success if before is not None else None)
        outcome = CollectorOutcome(
            DISCOVERY, success, question.seconds, last_success, question.reason, question.hint
        )
        oids = self.oids if question.oids is None else question.oids
        matched, cut = select_databases(target, oids or {}, max_databases)
        return Discovery(oids, matched, None if oids is None else cut, outcome)

    def matched_again(self, target: Target, max_databases: int) -> Discovery:
        """What is known after a change of the patterns; the server was not asked anew."""
        if self.oids is None:
            return self
        matched, cut = select_databases(target, self.oids, max_databases)
        return replace(self, matched=matched, databases_cut=cut)

    def unanswered(self) -> Discovery:
        """What is known while the server was not asked, or has not answered yet."""
        last_success = None if self.outcome is None else self.outcome.last_success
        outcome = CollectorOutcome(DISCOVERY, False, None, last_success, NOT_ANSWERED)
        return replace(self, outcome=outcome)


def select_databases(
    target: Target, oids: Mapping[str, int], max_databases: int
) -> tuple[tuple[Database, ...], int]:
    """The databases that the patterns take, at most so many, the oldest; and how many that cuts."""
    matching = match_databases(target, oids)
    if len(matching) <= max_databases:
        return matching, 0
    kept = sorted(oids[database.datname] for database in matching)[:max_databases]
    oldest = frozenset(kept)
    kept_databases = tuple(database for database in matching if oids[database.datname] in oldest)
    return kept_databases, len(matching) - max_databases
