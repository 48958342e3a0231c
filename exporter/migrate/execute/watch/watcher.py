"""The watcher of a run: observes its processes in the server by one query a poll, and applies the policies.

Each signal to a session is recorded in the journal before and after it is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import psycopg

from exporter.errors import ExporterError
from exporter.migrate.events import WatchObservation
from exporter.migrate.execute.processes import StepProcess
from exporter.migrate.execute.step_runs import StepRuns
from exporter.migrate.execute.watch.actions import ActionRunner
from exporter.migrate.execute.watch.estimate import Estimator
from exporter.migrate.execute.watch.policy import consequence, decide, why_protected
from exporter.migrate.execute.watch.waits import Waits
from exporter.migrate.options import BlockerPolicy, WatchOptions
from exporter.model import PhaseTime, Step, Wait
from exporter.postgres.builds import phases
from exporter.postgres.builds.progress import BuildProgress, read_builds
from exporter.postgres.sessions.other_sessions import OtherSession
from exporter.postgres.target import APPLICATION_NAME, Connection, SessionLimits, connect

# The share of the server's time that the polls may take, however long one takes.
_COST_SHARE = 1 / 200
_SLOWEST_POLL_SECONDS = 2.0
# Shorter waits are not reported.
_REPORTED_WAIT_SECONDS = 1.0


@dataclass(slots=True)
class _Watched:
    """What is known of one process that works for a step."""

    estimator: Estimator = field(default_factory=Estimator)
    seen_at: float | None = None
    phase: str | None = None
    stalled_seconds: float = 0.0
    reported: set[tuple[str, int | str | None]] = field(default_factory=set)


@dataclass(slots=True)
class Watcher:
    """Observes the processes of all steps. `poll` and `close` are for one thread, the results for all."""

    step_runs: StepRuns
    options: WatchOptions
    on_observation: Callable[[Step, WatchObservation], None]
    on_wait: Callable[[Step, str], None]
    _control: Connection | None = None
    _watched: dict[tuple[Step, int], _Watched] = field(default_factory=dict)
    _phases: dict[Step, dict[str, float]] = field(default_factory=dict)
    _waits: Waits = field(default_factory=Waits)
    _actions: ActionRunner = field(default_factory=ActionRunner)
    _poll_cost_seconds: float = 0.0

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next poll, so that polls cost the server little."""
        pause_seconds = max(self.options.poll_seconds, self._poll_cost_seconds / _COST_SHARE)
        return min(_SLOWEST_POLL_SECONDS, pause_seconds)

    def poll(self) -> None:
        """Observe the processes once, report and act. A control session that fails is replaced next time."""
        processes = self.step_runs.processes()
        if not processes:
            return
        try:
            control = self._connected()
            started = time.monotonic()
            builds = read_builds(control, processes.keys())
            self._poll_cost_seconds = time.monotonic() - started
            for build in builds:
                process = processes.get(build.pid)
                if process is not None:
                    self._observe(control, process, build)
        except (psycopg.Error, ExporterError):
            self.close()

    def close(self) -> None:
        """Close the control session; the next poll opens another one."""
        if self._control is not None:
            self._control.close()
            self._control = None

    def phase_times(self, step: Step) -> tuple[PhaseTime, ...]:
        """Return how long the step was observed in each phase."""
        # A copy, as the watching thread adds to it at the same time.
        phases_of_step = dict(self._phases.get(step, {}))
        return tuple(PhaseTime(phase, seconds) for phase, seconds in phases_of_step.items())

    def waits(self, step: Step) -> tuple[Wait, ...]:
        """Return which sessions the step was observed to wait for, the longest first."""
        return self._waits.of(step)

    def _connected(self) -> Connection:
        if self._control is None:
            context = self.step_runs.context
            self._control = connect(
                context.database,
                application_name=f"{APPLICATION_NAME}-control/{context.journal.run}",
                limits=SessionLimits(statement_timeout_seconds=5),
            )
            # The session is direct: preflight refuses a pooler.
            self._control.prepare_threshold = 0
        return self._control

    def _observe(self, control: Connection, process: StepProcess, build: BuildProgress) -> None:
        step = process.step
        watched = self._watched.setdefault((step, build.pid), _Watched())
        now = time.monotonic()
        since_seconds = 0.0 if watched.seen_at is None else now - watched.seen_at
        watched.seen_at = now
        phase = _phase_of(process, build)
        if phase is not None:
            times = self._phases.setdefault(step, {})
            times[phase] = times.get(phase, 0.0) + (since_seconds if phase == watched.phase else 0.0)
        blockers = tuple(blocker for blocker in build.blockers if not blocker.is_own_build)
        if phase != watched.phase or not blockers:
            watched.stalled_seconds = 0.0
        else:
            watched.stalled_seconds += since_seconds
        watched.phase = phase
        self._waits.add(
            step, phase or "", blockers, since_seconds=since_seconds, waiting_seconds=build.waiting_seconds
        )
        observation = WatchObservation(
            build,
            phase,
            watched.estimator.add(now, build),
            blockers,
            # Without this tool's own sessions, which wait for their turn.
            tuple(waiter for waiter in build.waiters if not waiter.is_ours),
            watched.stalled_seconds,
        )
        if phase is not None or observation.waiters:
            self.on_observation(step, observation)
        self._report_waits(step, watched, observation)
        if phase is not None and not self.step_runs.context.stopping.is_set():
            self._act(control, process, observation)

    def _act(self, control: Connection, process: StepProcess, observation: WatchObservation) -> None:
        datname = self.step_runs.context.database.datname
        run = self.step_runs.of(process.step)
        for action in decide(observation, self._options_for(process), datname):
            # An abandoned drop leaves a valid index INVALID, and the process of a live run is its own.
            if process.is_managed and (process.may_cancel or action.session is not None):
                self._actions.carry_out(control, run, action)

    def _options_for(self, process: StepProcess) -> WatchOptions:
        if not process.is_cleanup:
            return self.options
        # The signal has to come while the cleanup still waits.
        half_seconds = self.step_runs.context.options.cleanup_budget_seconds / 2
        limit_seconds = min(self.options.blocker_limit_seconds, half_seconds)
        return replace(self.options, blocker_limit_seconds=limit_seconds)

    def _report_waits(self, step: Step, watched: _Watched, observation: WatchObservation) -> None:
        """Report each blocker and each waiter once, and what follows from it."""
        datname = self.step_runs.context.database.datname
        has_waited = (observation.build.waiting_seconds or 0.0) >= _REPORTED_WAIT_SECONDS
        for blocker in observation.blockers:
            if has_waited and _is_new(watched, "blocker", blocker):
                protection = why_protected(blocker, self.options.patterns, datname)
                has_policy = self.options.on_blocker is not BlockerPolicy.WAIT
                suffix = f" ({protection})" if protection and has_policy else ""
                self.on_wait(step, f"waits for {blocker.described}{suffix}")
        for waiter in observation.waiters:
            if (waiter.waiting_seconds or 0.0) < _REPORTED_WAIT_SECONDS:
                continue
            if _is_new(watched, "waiter", waiter):
                self.step_runs.of(step).note(
                    f"WARNING: {waiter.described} waits for {waiter.mode} behind it; {consequence(waiter)}"
                )


def _phase_of(process: StepProcess, build: BuildProgress) -> str | None:
    if build.phase is not None:
        return build.phase
    if build.waiting_seconds is None:
        return None
    return phases.WAITING_FOR_SESSIONS if process.is_drop else phases.WAITING_FOR_TABLE


def _is_new(watched: _Watched, role: str, session: OtherSession) -> bool:
    key = (role, session.gid if session.pid is None else session.pid)
    if key in watched.reported:
        return False
    watched.reported.add(key)
    return True
