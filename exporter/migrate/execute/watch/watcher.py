"""Watches what a run does in the server: one query a look, shown, judged by policy, and acted on.

Of everybody who is asked to make way the journal tells before and after.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import psycopg

from exporter.errors import ExporterError
from exporter.migrate.events import WatchObservation
from exporter.migrate.execute.step_run import Site
from exporter.migrate.execute.watch.actions import Actor
from exporter.migrate.execute.watch.estimate import Estimator
from exporter.migrate.execute.watch.policy import consequence, decide, why_spared
from exporter.migrate.execute.watch.waits import Waits
from exporter.migrate.execute.work import Work
from exporter.migrate.options import WatchOptions
from exporter.model import PhaseTime, Step, Wait
from exporter.postgres.builds import phases
from exporter.postgres.builds.progress import BuildProgress, read_builds
from exporter.postgres.sessions.other_sessions import OtherSession
from exporter.postgres.target import APPLICATION_NAME, Connection, SessionLimits, connect

# Looking may cost the server this share of the time at most, whatever a look takes.
_COST_SHARE = 1 / 200
_SLOWEST_POLL_SECONDS = 2.0
# A wait of a moment is not worth a word.
_WORTH_TELLING_SECONDS = 1.0


@dataclass(slots=True)
class _Watched:
    """What is remembered of one process that works on a step."""

    estimator: Estimator = field(default_factory=Estimator)
    seen_at: float | None = None
    phase: str | None = None
    stalled_seconds: float = 0.0
    told: set[tuple[str, int | str | None]] = field(default_factory=set)


@dataclass(slots=True)
class Watcher:
    """Looks at everything that a site runs. To be used by one thread."""

    site: Site
    options: WatchOptions
    on_observation: Callable[[Step, WatchObservation], None]
    on_wait: Callable[[Step, str], None]
    _control: Connection | None = None
    _watched: dict[tuple[Step, int], _Watched] = field(default_factory=dict)
    _phases: dict[Step, dict[str, float]] = field(default_factory=dict)
    _waits: Waits = field(default_factory=Waits)
    _actor: Actor = field(init=False)
    _look_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._actor = Actor(self.site)

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next look, so that looking costs little."""
        return min(_SLOWEST_POLL_SECONDS, max(self.options.poll_seconds, self._look_seconds / _COST_SHARE))

    def look(self) -> None:
        """Looks once, shows and acts. A control session that fails is replaced at the next look."""
        working = self.site.working()
        if not working:
            return
        try:
            control = self._connected()
            started = time.monotonic()
            builds = read_builds(control, working.keys())
            self._look_seconds = time.monotonic() - started
            for build in builds:
                work = working.get(build.pid)
                if work is not None:
                    self._follow(control, work, build)
        except (psycopg.Error, ExporterError):
            self.close()

    def close(self) -> None:
        """Closes the control session; the next look opens another."""
        if self._control is not None:
            self._control.close()
            self._control = None

    def phase_times(self, step: Step) -> tuple[PhaseTime, ...]:
        """How long the step was seen in each phase."""
        # Written by the watching thread: a copy of one moment.
        phases_of_step = dict(self._phases.get(step, {}))
        return tuple(PhaseTime(phase, seconds) for phase, seconds in phases_of_step.items())

    def waits(self, step: Step) -> tuple[Wait, ...]:
        """Whom the step was seen to wait for, the longest first."""
        return self._waits.of(step)

    def _connected(self) -> Connection:
        if self._control is None:
            self._control = connect(
                self.site.database,
                application_name=f"{APPLICATION_NAME}-control/{self.site.journal.run}",
                limits=SessionLimits(statement_timeout_seconds=5),
            )
            # The session is direct: preflight refuses a pooler.
            self._control.prepare_threshold = 0
        return self._control

    def _follow(self, control: Connection, work: Work, build: BuildProgress) -> None:
        step = work.step
        watched = self._watched.setdefault((step, build.pid), _Watched())
        now = time.monotonic()
        since = 0.0 if watched.seen_at is None else now - watched.seen_at
        watched.seen_at = now
        phase = _phase_of(work, build)
        if phase is not None and phase == watched.phase:
            times = self._phases.setdefault(step, {})
            times[phase] = times.get(phase, 0.0) + since
        elif phase is not None:
            self._phases.setdefault(step, {}).setdefault(phase, 0.0)
        blockers = tuple(one for one in build.blockers if not one.is_own_build)
        if phase != watched.phase or not blockers:
            watched.stalled_seconds = 0.0
        else:
            watched.stalled_seconds += since
        watched.phase = phase
        self._waits.look(
            step, phase or "", blockers, since_seconds=since, waiting_seconds=build.waiting_seconds
        )
        estimate = watched.estimator.look(now, build)
        look = WatchObservation(
            build, phase, estimate, blockers, _telling(build.waiters), watched.stalled_seconds
        )
        if phase is not None or look.waiters:
            self.on_observation(step, look)
        self._tell(step, watched, look)
        if phase is not None and not self.site.stopping.is_set():
            self._act(control, work, look)

    def _act(self, control: Connection, work: Work, look: WatchObservation) -> None:
        moves = decide(
            look.build,
            look.phase or "",
            look.estimate.share,
            look.stalled_seconds,
            self._options_for(work),
            self.site.database.datname,
        )
        for move in moves:
            # A drop that is given up leaves a valid index INVALID; what a living run does is its own to end.
            if work.may_act and (work.may_end or move.session is not None):
                self._actor.act(control, work.step, move)

    def _options_for(self, work: Work) -> WatchOptions:
        if not work.is_cleaning:
            return self.options
        # After the budget for cleaning up nobody is there any more who could be helped.
        half = self.site.options.cleanup_budget_seconds / 2
        limit = min(self.options.blocker_limit_seconds, half)
        return replace(self.options, blocker_limit_seconds=limit)

    def _tell(self, step: Step, watched: _Watched, look: WatchObservation) -> None:
        """Says of each session once that it is waited for, or waits, and what comes of it."""
        for one in look.blockers:
            has_waited = (look.build.waiting_seconds or 0.0) >= _WORTH_TELLING_SECONDS
            if has_waited and _is_new(watched, "blocker", one):
                spared = why_spared(one, self.options.patterns, self.site.database.datname)
                is_asked = self.options.on_blocker.value != "wait"
                told = f" ({spared})" if spared and is_asked else ""
                self.on_wait(step, f"waits for {one.described}{told}")
        for one in look.waiters:
            if (one.waiting_seconds or 0.0) >= _WORTH_TELLING_SECONDS and _is_new(watched, "waiter", one):
                self.site.on_note(
                    step, f"WARNING: {one.described} waits for {one.mode} behind it; {consequence(one)}"
                )


def _phase_of(work: Work, build: BuildProgress) -> str | None:
    if build.phase is not None:
        return build.phase
    if build.waiting_seconds is None:
        return None
    return phases.WAITING_FOR_SESSIONS if work.is_drop else phases.WAITING_FOR_TABLE


def _telling(waiters: tuple[OtherSession, ...]) -> tuple[OtherSession, ...]:
    """Those behind a build, without this tool's own, which wait their turn."""
    return tuple(one for one in waiters if not one.is_ours)


def _is_new(watched: _Watched, role: str, session: OtherSession) -> bool:
    key = (role, session.gid if session.pid is None else session.pid)
    if key in watched.told:
        return False
    watched.told.add(key)
    return True
