"""Runs a plan: tables side by side, the steps of one table in order, watched from one control session.

Decides nothing about indexes: the plan said what, `steps` knows how. Here are the threads, the watching,
and what Ctrl-C and SIGTERM mean: Ctrl-C cancels and cleans up, SIGTERM lets the server go on alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace

import psycopg

from exporter.errors import ExporterError, StepLeftBehind
from exporter.migrate.events import Detach, Event, EventKind
from exporter.migrate.execute.schedule import Lane, Schedule, reason_to_skip
from exporter.migrate.execute.step_run import Site
from exporter.migrate.execute.steps.build import is_shared_failure, run_step, sweep
from exporter.migrate.execute.watch.watcher import Watcher
from exporter.migrate.options import BuildOptions
from exporter.migrate.plan.disk_budget import DiskBudget
from exporter.migrate.plan.steps import waves_of
from exporter.model import Database, OnFailure, Plan, Step, StepKind, StepResult, StepStatus
from exporter.postgres.journal import EventStatus, Journal, Phase
from exporter.postgres.server.identity import read_identity
from exporter.postgres.target import APPLICATION_NAME, SessionLimits, connect

# Who pressed Ctrl-C knows who cancelled it.
_CANCELLED = "57014"


_NO_BUDGET = DiskBudget()


@dataclass(slots=True)
class Build:
    """One run of a plan in one database."""

    database: Database
    journal: Journal
    options: BuildOptions
    on_event: Callable[[Event], None]
    _results: dict[Step, StepResult] = field(default_factory=dict)
    _broken: list[BaseException] = field(default_factory=list)
    # No step is started any more; those that run go on to their end.
    _ending: threading.Event = field(default_factory=threading.Event)
    # What runs is cancelled, and cleaned up in its own thread.
    _cancelling: threading.Event = field(default_factory=threading.Event)
    _interrupted: bool = False
    _skipped: dict[Step, str] = field(default_factory=dict)
    # The first steps of the tables that had to wait for the disk.
    _queued: set[Step] = field(default_factory=set)

    def run(self, plan: Plan, budget: DiskBudget = _NO_BUDGET) -> tuple[StepResult, ...]:
        """How every step of the plan ended, in the plan's order; what does not fit the budget waits.

        Raises: StepLeftBehind after a second Ctrl-C, which waits for no cleaning up; whatever else broke in
        a worker.
        """
        site = Site(
            self.database,
            self.journal,
            self.options.steps,
            on_note=lambda step, text: self.on_event(Event(EventKind.NOTE, step, text=text)),
            identity=read_identity(self.journal.connection),
        )
        self.journal.reconnect = lambda: site.connect_beside("journal")
        watcher = Watcher(
            site,
            self.options.steps.watch,
            on_observation=lambda step, observation: self.on_event(
                Event(EventKind.PROGRESS, step, observation=observation)
            ),
            on_wait=lambda step, text: self.on_event(Event(EventKind.WAIT, step, text=text)),
        )
        try:
            for wave in waves_of(plan.steps):
                schedule = Schedule(wave, budget, self._tell_of_wait)
                self._run_wave(site, watcher, schedule)
        except Detach:
            self._detach(site)
        finally:
            watcher.close()
        if self._broken:
            raise self._broken[0]
        return tuple(self._result(step) for step in plan.steps)

    def _run_wave(self, site: Site, watcher: Watcher, schedule: Schedule) -> None:
        workers = 1 if self.options.sequential else len(schedule.lanes)
        # Not Thread.join: before Python 3.13 one that Ctrl-C interrupts takes the thread for ended.
        ends = [threading.Event() for _ in range(min(workers, self.options.max_parallel or workers))]
        for end in ends:
            # Daemons, so that a detached run can leave while the server works on.
            threading.Thread(target=self._work, args=(site, watcher, schedule, end), daemon=True).start()
        self._watch_until_done(site, watcher, ends)

    def _tell_of_wait(self, lane: Lane, obstacle: str) -> None:
        self._queued.add(lane[0])
        self.on_event(Event(EventKind.WAIT_FOR_DISK, lane[0], text=f"waits for disk: {obstacle}"))

    def _work(self, site: Site, watcher: Watcher, schedule: Schedule, end: threading.Event) -> None:
        try:
            while (lane := schedule.take()) is not None:
                if lane[0] in self._queued:
                    self.on_event(Event(EventKind.WAIT_FOR_DISK, lane[0]))
                try:
                    self._run_lane(site, watcher, lane)
                finally:
                    schedule.release(lane)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._broken.append(error)
            self._ending.set()
        finally:
            end.set()

    def _run_lane(self, site: Site, watcher: Watcher, lane: Lane) -> None:
        before: dict[Step, StepStatus] = {}
        for step in lane:
            reason = reason_to_skip(
                step, before, is_ending=self._ending.is_set(), is_interrupted=self._interrupted
            )
            if reason is not None:
                self._skipped[step] = reason
                continue
            self.on_event(Event(EventKind.STARTED, step))
            ended = run_step(site, step)
            result = replace(ended, phases=watcher.phase_times(step), waits=watcher.waits(step))
            if self._interrupted and result.sqlstate == _CANCELLED:
                result = replace(result, hint="run the same command again: it goes on from what stands")
            self._results[step] = result
            before[step] = result.status
            # What was set aside stands in nobody's way.
            if result.status is not StepStatus.DONE and step.kind is not StepKind.DROP_LEFTOVER:
                self._fail(result)
            self.on_event(Event(EventKind.FINISHED, step, result=result))
        self._sweep(site, lane, before)

    def _sweep(self, site: Site, lane: Lane, ended: Mapping[Step, StepStatus]) -> None:
        """Drops what steps of the table could not drop, now that a build has waited for all who held it."""
        built = any(
            status is StepStatus.DONE and step.kind in (StepKind.BUILD, StepKind.ADOPT)
            for step, status in ended.items()
        )
        for step in lane:
            if step in self._results:
                try_again = built and not self._interrupted
                self._results[step] = sweep(site, self._results[step], try_again=try_again)

    def _fail(self, result: StepResult) -> None:
        """What the failed step means for those of other tables."""
        if self.options.on_failure is not OnFailure.CONTINUE or is_shared_failure(result):
            self._ending.set()
        if self.options.on_failure is OnFailure.CANCEL_ALL:
            self._cancelling.set()

    def _watch_until_done(self, site: Site, watcher: Watcher, ends: list[threading.Event]) -> None:
        # Not one inside the other: a second Ctrl-C at once must find the second handler, not the first's.
        with suppress(KeyboardInterrupt):
            self._watch(site, watcher, ends)
            return
        try:
            self._interrupted = True
            self._ending.set()
            self._cancelling.set()
            self._watch(site, watcher, ends)
        except KeyboardInterrupt:
            self.journal.reconnect = None
            raise StepLeftBehind(
                "stopped at once, before everything was cleaned up: INVALID indexes may be left",
                hint="run init again: it finishes the cleaning; `status` shows what stands",
            ) from None

    def _watch(self, site: Site, watcher: Watcher, ends: list[threading.Event]) -> None:
        while not all(end.is_set() for end in ends):
            started = time.monotonic()
            if self._cancelling.is_set():
                site.cancel_active()
            watcher.look()
            for end in ends:
                remaining = watcher.pause_seconds - (time.monotonic() - started)
                end.wait(max(0.01, remaining))

    def _detach(self, site: Site) -> None:
        self._interrupted = True
        self._ending.set()
        site.stopping.set()
        self.journal.reconnect = None
        working = site.working()
        for pid, work in working.items():
            self._results[work.step] = StepResult(
                work.step,
                StepStatus.DETACHED,
                0.0,
                message=f"the server goes on with it (pid {pid})",
                hint="run init again: it follows the build to its end",
            )
        # The journal explains, the catalogue decides: a server that is gone needs no word of it.
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
            for pid, work in working.items():
                if work.step.index is not None:
                    journal.append(
                        Phase.DETACHED,
                        EventStatus.IN_PROGRESS,
                        index_name=work.step.index.name,
                        detail={"backend_pid": pid},
                    )

    def _result(self, step: Step) -> StepResult:
        reason = "the run was stopped" if self._interrupted else "another step failed"
        return self._results.get(step) or StepResult(
            step, StepStatus.SKIPPED, 0.0, message=f"not started because {self._skipped.get(step, reason)}"
        )
