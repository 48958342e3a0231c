"""Database -> DatabaseSnapshot: one collection of one database, in the thread that collects.

What several collectors ask is sent together: a database takes two round trips as a rule. A collector that
fails leaves a gap with its reason and never fails another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from exporter.catalogue.metrics import COLLECTORS
from exporter.errors import ExporterError, TargetError
from exporter.metrics.collect.connection import PersistentConnection
from exporter.metrics.collect.context import Collected, Collector, DatabaseContext, Limit, Steps, Turn
from exporter.metrics.snapshot import CollectorOutcome, DatabaseSnapshot
from exporter.model import Database
from exporter.postgres.pipeline import Answers, Pipeline
from exporter.postgres.requests import Request
from exporter.postgres.target import describe_error

NOT_ENDED = "did not end before the deadline"
NOT_REACHED = "not reached before the deadline"
LOST = "the connection was lost"

Publish = Callable[[DatabaseSnapshot], None]
NO_ANSWERS = Answers({})


def unknown_snapshot(
    database: Database, collectors: Iterable[Collector], last_success: Mapping[str, float]
) -> DatabaseSnapshot:
    """The snapshot before anything was asked: no collector has ended."""
    names = {collector.name for collector in collectors}
    outcomes = tuple(
        CollectorOutcome(name, False, None, last_success.get(name), NOT_ENDED)
        for name in COLLECTORS
        if name in names
    )
    return DatabaseSnapshot(database.datname, False, database.declared, outcomes)


@dataclass(eq=False, slots=True)
class _Step:
    """What a collector waits for, and how long it took so far."""

    name: str
    steps: Steps
    wants: Sequence[Request[Any]] | Turn = ()
    seconds: float = 0.0


class DatabaseCollection:
    """Runs the collectors of one database once and publishes the snapshot as it grows."""

    def __init__(
        self,
        database: Database,
        collectors: Sequence[Collector],
        connection: PersistentConnection,
        last_success: dict[str, float],
        limit: Limit,
        publish: Publish,
    ) -> None:
        self._database = database
        self._collectors = collectors
        self._connection = connection
        self._last_success = last_success
        self._limit = limit
        self._publish = publish
        self._snapshot = unknown_snapshot(database, collectors, last_success)
        self._context: DatabaseContext | None = None
        self._pending: list[_Step] = []
        # When the last answer was received, of time.monotonic().
        self._answered_at = 0.0

    def run(self) -> None:
        """Collect; start no statement once the limit is over, except for the first collector's."""
        was_open = self._connection.is_open
        try:
            self._run(self._connection.get())
            # A connection that died since the last collection says nothing about the server.
            if was_open and not (self._snapshot.up or self._connection.is_open or self._limit.is_over):
                self._run(self._connection.get())
        except TargetError as error:
            self._fail_everything(error)
        if not self._connection.is_open:
            self._snapshot = replace(self._snapshot, up=False)
        self._publish(self._snapshot)

    def _run(self, pipeline: Pipeline) -> None:
        self._context = context = DatabaseContext(self._database, pipeline, self._limit, self._snapshot)
        self._answered_at = time.monotonic()
        self._pending = [_Step(collector.name, collector.collect(context)) for collector in self._collectors]
        for step in list(self._pending):
            self._advance(context, step, None)
        has_asked = False
        while self._pending:
            if not self._connection.is_open:
                self._give_up(LOST)
            elif self._limit.is_over and has_asked:
                self._give_up(NOT_REACHED)
            elif self._pending[0].wants is Turn.ALONE:
                self._advance(context, self._pending[0], NO_ANSWERS)
            else:
                self._ask_together(context, 1 if self._limit.is_over else len(self._pending))
            has_asked = True

    def _ask_together(self, context: DatabaseContext, most: int) -> None:
        """Ask what the collectors want, up to the first that waits to be alone."""
        asking: list[_Step] = []
        groups: list[Sequence[Request[Any]]] = []
        for step in self._pending[:most]:
            if isinstance(step.wants, Turn):
                break
            asking.append(step)
            groups.append(step.wants)
        self._answered_at = time.monotonic()
        for number, (step, answers) in enumerate(
            zip(asking, context.pipeline.ask(groups), strict=True), start=1
        ):
            self._advance(context, step, answers)
            if context.connection.closed:
                break
            if self._limit.stop.is_set() and number < len(asking):
                # A request to cancel ends one statement; the next is running.
                self._connection.cancel()

    def _advance(self, context: DatabaseContext, step: _Step, answers: Answers | None) -> None:
        """Resume a collector with the answers to what it asked; None begins it."""
        reason: str | None
        snapshot = self._snapshot
        try:
            step.wants = next(step.steps) if answers is None else step.steps.send(answers)
        except StopIteration as end:
            collected: Collected = end.value
            snapshot, reason = collected.snapshot, collected.gap
        except psycopg.Error as error:
            reason = describe_error(self._database, error).what
        except ExporterError as error:
            reason = error.what
        else:
            self._count_time(step)
            return
        self._count_time(step)
        self._pending.remove(step)
        if answers is not None and not context.connection.closed:
            snapshot = replace(snapshot, up=True)
        self._note(snapshot, step.name, step.seconds, reason)

    def _give_up(self, reason: str) -> None:
        for step in self._pending:
            step.steps.close()
            self._note(self._snapshot, step.name, None, reason)
        self._pending = []

    def _fail_everything(self, error: TargetError) -> None:
        for collector in self._collectors:
            self._note(self._snapshot, collector.name, None, error.what, error.hint)

    def _count_time(self, step: _Step) -> None:
        """Count the time since the last answer for this collector."""
        now = time.monotonic()
        step.seconds += now - self._answered_at
        self._answered_at = now

    def _note(
        self,
        snapshot: DatabaseSnapshot,
        name: str,
        seconds: float | None,
        reason: str | None,
        hint: str | None = None,
    ) -> None:
        """Publish the snapshot with the outcome of a collector that ended."""
        if reason is None:
            self._last_success[name] = time.time()
        ended = CollectorOutcome(name, reason is None, seconds, self._last_success.get(name), reason, hint)
        outcomes = tuple(ended if outcome.collector == name else outcome for outcome in snapshot.outcomes)
        self._snapshot = replace(snapshot, outcomes=outcomes)
        if self._context is not None:
            self._context.snapshot = self._snapshot
            self._context.ended.add(name)
        self._publish(self._snapshot)
