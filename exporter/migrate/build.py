"""Runs a plan: tables side by side, the steps of one table in order, watched from one control session.

Decides nothing about indexes: the plan said what, `steps` knows how. Here are the threads, the watching,
and what Ctrl-C and SIGTERM mean: Ctrl-C cancels and cleans up, SIGTERM lets the server go on alone.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import StrEnum

from exporter.migrate.plan import waves_of
from exporter.migrate.site import Site, StepOptions
from exporter.migrate.steps import run_step
from exporter.migrate.watch.watcher import Look, Watcher
from exporter.model import Database, Plan, Step, StepResult, StepStatus
from exporter.postgres.identity import read_identity
from exporter.postgres.journal import EventStatus, Journal, Phase
from exporter.postgres.progress import BuildProgress
from exporter.postgres.target import APPLICATION_NAME, SessionLimits, connect


class EventKind(StrEnum):
    """What an event tells."""

    STARTED = "started"
    PROGRESS = "progress"
    NOTE = "note"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a step, for whoever shows it."""

    kind: EventKind
    step: Step
    look: Look | None = None
    result: StepResult | None = None
    text: str = ""

    @property
    def progress(self) -> BuildProgress | None:
        """The build itself as the server showed it."""
        return None if self.look is None else self.look.build


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a plan is run; `sequential` is the same loop with one worker."""

    sequential: bool = False
    steps: StepOptions = field(default_factory=StepOptions)


class Detach(BaseException):
    """Raised into the main thread by a signal: leave now, the server goes on with what it builds."""


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
    _interrupted: bool = False

    def run(self, plan: Plan) -> tuple[StepResult, ...]:
        """How every step of the plan ended, in the plan's order.

        A failed step stops new ones from starting; what runs on other tables is left to finish.
        Raises: KeyboardInterrupt again after a second Ctrl-C; whatever else broke in a worker.
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
            on_look=lambda step, look: self.on_event(Event(EventKind.PROGRESS, step, look=look)),
        )
        try:
            for wave in waves_of(plan.steps):
                self._run_wave(site, watcher, wave)
        except Detach:
            self._detach(site)
        finally:
            watcher.close()
        if self._broken:
            raise self._broken[0]
        return tuple(self._result(step) for step in plan.steps)

    def _run_wave(self, site: Site, watcher: Watcher, wave: tuple[tuple[Step, ...], ...]) -> None:
        lanes: queue.SimpleQueue[tuple[Step, ...]] = queue.SimpleQueue()
        for lane in wave:
            lanes.put(lane)
        # Not Thread.join: before Python 3.13 one that Ctrl-C interrupts takes the thread for ended.
        ends = [threading.Event() for _ in range(1 if self.options.sequential else len(wave))]
        for end in ends:
            # Daemons, so that a detached run can leave while the server works on.
            threading.Thread(target=self._work, args=(site, watcher, lanes, end), daemon=True).start()
        self._watch_until_done(site, watcher, ends)

    def _work(
        self,
        site: Site,
        watcher: Watcher,
        lanes: queue.SimpleQueue[tuple[Step, ...]],
        end: threading.Event,
    ) -> None:
        try:
            while not self._ending.is_set():
                for step in lanes.get_nowait():
                    if self._ending.is_set():
                        return
                    self.on_event(Event(EventKind.STARTED, step))
                    result = replace(run_step(site, step), phases=watcher.phase_times(step))
                    self._results[step] = result
                    if result.status is not StepStatus.DONE:
                        self._ending.set()
                    self.on_event(Event(EventKind.FINISHED, step, result=result))
        except queue.Empty:
            return
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._broken.append(error)
            self._ending.set()
        finally:
            end.set()

    def _watch_until_done(self, site: Site, watcher: Watcher, ends: list[threading.Event]) -> None:
        try:
            _watch(site, watcher, ends)
        except KeyboardInterrupt:
            self._interrupted = True
            self._ending.set()
            _watch(site, watcher, ends, cancelling=True)

    def _detach(self, site: Site) -> None:
        self._interrupted = True
        self._ending.set()
        site.stopping.set()
        with closing(
            connect(
                self.database,
                application_name=f"{APPLICATION_NAME}-detach/{self.journal.run}",
                read_only=False,
                limits=SessionLimits(statement_timeout_seconds=5),
            )
        ) as connection:
            journal = Journal(connection, self.journal.schemaname, self.journal.migration, self.journal.run)
            for pid, step in site.active_pids().items():
                if step.index is not None:
                    journal.append(
                        Phase.DETACHED,
                        EventStatus.IN_PROGRESS,
                        index_name=step.index.name,
                        detail={"backend_pid": pid},
                    )
                self._results[step] = StepResult(
                    step,
                    StepStatus.DETACHED,
                    0.0,
                    message=f"the server goes on with it (pid {pid})",
                    mend="run init again: it follows the build to its end",
                )

    def _result(self, step: Step) -> StepResult:
        reason = "the run was stopped" if self._interrupted else "another step failed"
        return self._results.get(step) or StepResult(
            step, StepStatus.SKIPPED, 0.0, message=f"not started because {reason}"
        )


def _watch(site: Site, watcher: Watcher, ends: list[threading.Event], *, cancelling: bool = False) -> None:
    while not all(end.is_set() for end in ends):
        started = time.monotonic()
        if cancelling:
            site.cancel_active()
        watcher.look()
        for end in ends:
            remaining = watcher.pause_seconds - (time.monotonic() - started)
            end.wait(max(0.01, remaining))
