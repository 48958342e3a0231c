"""The executor of a plan: tables in parallel, the steps of one table in order, all watched by one session.

It decides nothing about indexes: the plan says what to do, `steps` knows how. Here are the threads, the
watching, and the signals: Ctrl-C cancels and cleans up, SIGTERM exits and the server goes on alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

import psycopg

from exporter.errors import ExporterError, StepLeftBehind
from exporter.migrate.events import Detach, Event, EventKind
from exporter.migrate.execute.context import ExecutionContext
from exporter.migrate.execute.schedule import Schedule
from exporter.migrate.execute.step_runs import StepRuns
from exporter.migrate.execute.watch.watcher import Watcher
from exporter.migrate.execute.workers import Workers
from exporter.migrate.options import BuildOptions
from exporter.migrate.plan.disk_budget import DiskBudget
from exporter.migrate.plan.steps import waves_of
from exporter.model import Database, Plan, StepResult, StepStatus
from exporter.postgres.journal import EventStatus, Journal, Phase
from exporter.postgres.server.identity import read_identity
from exporter.postgres.target import APPLICATION_NAME, SessionLimits, connect

_NO_BUDGET = DiskBudget()


@dataclass(frozen=True, slots=True)
class Executor:
    """Executes plans in one database, and reports each change of a step as an event, from any thread."""

    database: Database
    journal: Journal
    options: BuildOptions
    on_event: Callable[[Event], None]

    def run(self, plan: Plan, budget: DiskBudget = _NO_BUDGET) -> tuple[StepResult, ...]:
        """Return the result of every step, in the plan's order. Tables that exceed the disk budget wait.

        Raises: StepLeftBehind after a second Ctrl-C, which does not wait for the cleanup; every unexpected
        error of a worker.
        """
        context = ExecutionContext(
            self.database,
            self.journal,
            self.options.steps,
            on_note=lambda step, text: self.on_event(Event(EventKind.NOTE, step, text=text)),
            identity=read_identity(self.journal.connection),
        )
        self.journal.reconnect = lambda: context.connect_for("journal")
        step_runs = StepRuns(context)
        watcher = Watcher(
            step_runs,
            self.options.steps.watch,
            on_observation=lambda step, observation: self.on_event(
                Event(EventKind.PROGRESS, step, observation=observation)
            ),
            on_wait=lambda step, text: self.on_event(Event(EventKind.WAIT, step, text=text)),
        )
        workers = Workers(step_runs, watcher, self.options.on_failure, self.on_event)
        try:
            for wave in waves_of(plan.steps):
                self._run_wave(workers, Schedule(wave, budget, workers.report_disk_wait))
        except Detach:
            self._detach(workers)
        finally:
            watcher.close()
        if workers.errors:
            raise workers.errors[0]
        return tuple(map(workers.result, plan.steps))

    def _run_wave(self, workers: Workers, schedule: Schedule) -> None:
        most = 1 if self.options.sequential else len(schedule.tables)
        ends = workers.start(schedule, min(most, self.options.max_parallel or most))
        # The handlers are not nested: a second Ctrl-C must meet the second one, even if it comes at once.
        with suppress(KeyboardInterrupt):
            _watch_until_ended(workers, ends)
            return
        try:
            workers.interrupt()
            workers.cancelling.set()
            _watch_until_ended(workers, ends)
        except KeyboardInterrupt:
            self.journal.reconnect = None
            raise StepLeftBehind(
                "stopped before everything was cleaned up: INVALID indexes may be left",
                hint="run init again: it finishes the cleanup; `status` shows the state of each index",
            ) from None

    def _detach(self, workers: Workers) -> None:
        workers.interrupt()
        workers.step_runs.context.stopping.set()
        self.journal.reconnect = None
        processes = workers.step_runs.processes()
        for pid, process in processes.items():
            workers.results[process.step] = StepResult(
                process.step,
                StepStatus.DETACHED,
                0.0,
                message=f"the server goes on with it (pid {pid})",
                hint="run init again: it follows the build to its end",
            )
        # The journal only explains, the catalogue decides: without the server this record can be missing.
        with (
            suppress(psycopg.Error, ExporterError),
            closing(
                connect(
                    self.database,
                    application_name=f"{APPLICATION_NAME}-detach/{self.journal.run}",
                    read_only=False,
                    limits=SessionLimits(statement_timeout_seconds=5),
                )
            ) as connection,
        ):
            journal = Journal(connection, self.journal.schemaname, self.journal.migration, self.journal.run)
            for pid, process in processes.items():
                if process.step.index is not None:
                    journal.append(
                        Phase.DETACHED,
                        EventStatus.IN_PROGRESS,
                        index_name=process.step.index.name,
                        detail={"backend_pid": pid},
                    )


def _watch_until_ended(workers: Workers, ends: list[threading.Event]) -> None:
    watcher = workers.watcher
    while not all(end.is_set() for end in ends):
        started = time.monotonic()
        if workers.cancelling.is_set():
            workers.step_runs.cancel_all()
        watcher.poll()
        for end in ends:
            remaining_seconds = watcher.pause_seconds - (time.monotonic() - started)
            end.wait(max(0.01, remaining_seconds))
