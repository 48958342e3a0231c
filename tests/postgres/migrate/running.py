"""Runs of a plan as `init` makes them, beside the test or in front of it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import psycopg

from exporter.migrate import run as command
from exporter.migrate.events import Event, EventKind
from exporter.migrate.execute.executor import Executor
from exporter.migrate.observe.indexes import observe
from exporter.migrate.options import BuildOptions, RunOptions, StepOptions
from exporter.migrate.plan.steps import plan_build, plan_rollback
from exporter.model import Database, Manifest, OnFailure, Plan, Step, StepKind, StepResult, StepStatus
from exporter.postgres.journal import Journal
from exporter.postgres.target import connect
from tests.conftest import TestDatabase
from tests.support.builds import as_declared
from tests.support.postgres_server import Statement
from tests.support.waiting import wait_for

QUICK = StepOptions(deadline_seconds=60, lock_budget_seconds=1, cleanup_budget_seconds=30, poll_seconds=0.1)
Status = tuple[StepKind, str, StepStatus]


@dataclass
class Run:
    """One run of the change line in a database, without its probes."""

    database: TestDatabase
    manifest: Manifest
    options: StepOptions = QUICK
    sequential: bool = False
    on_failure: OnFailure = OnFailure.STOP_LAUNCHING
    adopt_invalid: bool = False
    declared: Database | None = None
    events: list[Event] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda event: None
    plan: Plan | None = None
    run_id: str = "0badcafe"

    def init(self) -> tuple[StepResult, ...]:
        """How the steps of a build ended."""
        return self._run(
            lambda journal: plan_build(
                self.manifest,
                observe(journal.connection, self.manifest, journal.created()),
                adopt_invalid=self.adopt_invalid,
                leftovers=journal.leftovers(),
            )
        )

    def rollback(self) -> tuple[StepResult, ...]:
        """How the steps of a rollback ended."""
        return self._run(
            lambda journal: plan_rollback(
                self.manifest,
                observe(journal.connection, self.manifest, journal.created()),
                journal.created(),
                leftovers=journal.leftovers(),
            )
        )

    def told(self, kind: EventKind) -> list[Step]:
        """The steps of all events of that kind, in their order."""
        return [event.step for event in self.events if event.kind is kind]

    def wait_for(self, what: str, is_it: Callable[[Event], bool]) -> Event:
        """The first event of that sort."""
        return wait_for(what, lambda: next(filter(is_it, list(self.events)), None))

    def _run(self, make_plan: Callable[[Journal], Plan]) -> tuple[StepResult, ...]:
        database = self.declared or as_declared(self.database)
        with closing(connect(database, read_only=False)) as connection:
            journal = Journal(connection, "public", self.manifest.migration, self.run_id)
            journal.ensure()
            self.plan = make_plan(journal)
            options = BuildOptions(sequential=self.sequential, on_failure=self.on_failure, steps=self.options)
            try:
                return Executor(database, journal, options, self._on_event).run(self.plan)
            finally:
                # Another than at first, where that was lost.
                journal.connection.close()

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)


class Beside:
    """Something that runs in a thread; leaving the block waits for its end."""

    def __init__(self, run: Callable[[], tuple[StepResult, ...]]) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(run)
        self._pool.shutdown(wait=False)

    def __enter__(self) -> "Beside":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A failure inside the block tells more than what it made of the thread.
        if kind is None:
            self._future.result()
        else:
            self._future.exception()

    def results(self) -> tuple[StepResult, ...]:
        """What it gave, once it has ended."""
        return self._future.result()


def run_with(database: TestDatabase, manifest: Manifest, journal: Journal) -> command.Run:
    """A run of init over the journal's connection, with the default options."""
    return command.Run("init", as_declared(database), manifest, RunOptions(), journal, command.now())


def executed(connection: psycopg.Connection[tuple[object, ...]], statement: Statement) -> tuple[()]:
    """No results, once the statement has ended: for what runs Beside."""
    connection.execute(statement)
    return ()


def statuses(results: Sequence[StepResult]) -> list[Status]:
    """Kind, subject and status of each result."""
    return [
        (
            result.step.kind,
            result.step.index.name if result.step.index else result.step.table.relname,
            result.status,
        )
        for result in results
    ]
