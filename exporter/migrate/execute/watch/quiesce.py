"""Waiting before a build for the sessions that would block it later.

A build that waits at its end holds back VACUUM and leaves an index that every write has to maintain; a build
that has not started costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from exporter.migrate.execute.step_run import StepRun
from exporter.migrate.execute.watch.actions import ActionRunner
from exporter.migrate.execute.watch.policy import Action, why_protected
from exporter.migrate.options import BlockerPolicy, WatchOptions
from exporter.model import ObservedIndex
from exporter.postgres.journal import EventStatus, Phase
from exporter.postgres.sessions.blockers import read_blockers
from exporter.postgres.sessions.other_sessions import OtherSession, shown_duration
from exporter.postgres.target import Connection

_POLL_SECONDS = 0.5


def wait_until_quiet(run: StepRun, connection: Connection, observed: ObservedIndex, attempt: int) -> bool:
    """Return True if the build may start: no session would block it, or they were waited for long enough.

    Returns False if the run stops meanwhile. Young transactions do not count: they end by themselves.
    """
    stopping = run.context.stopping
    options = run.context.options.watch
    actions = ActionRunner()
    started = time.monotonic()
    noted: set[str] = set()
    while True:
        blockers = _read_long_blockers(connection, observed, options)
        waited_seconds = time.monotonic() - started
        if not blockers:
            if noted:
                run.record(Phase.QUIESCED, EventStatus.DONE, observed, attempt)
            return not stopping.is_set()
        if not noted:
            described = "; ".join(blocker.described for blocker in blockers)
            run.record(Phase.QUIESCED, EventStatus.IN_PROGRESS, observed, attempt, described)
        for blocker in blockers:
            if blocker.name not in noted:
                noted.add(blocker.name)
                run.note(f"waits before the build for {blocker.described}")
        signalable = _signalable(blockers, options, run.context.database.datname)
        if waited_seconds >= options.blocker_limit_seconds:
            reason = f"it would block the build, and was waited for {shown_duration(waited_seconds)}"
            for blocker in signalable:
                actions.carry_out(connection, run, Action(reason, blocker, options.on_blocker.value))
        if waited_seconds >= _longest_wait_seconds(options, may_signal=bool(signalable)):
            run.note(f"starts after {shown_duration(waited_seconds)}, the build waits for them in the server")
            names = "; ".join(blocker.name for blocker in blockers)
            run.record(Phase.QUIESCED, EventStatus.FAILED, observed, attempt, names)
            return not stopping.is_set()
        if stopping.wait(_POLL_SECONDS):
            return False


def _read_long_blockers(
    connection: Connection, observed: ObservedIndex, options: WatchOptions
) -> Sequence[OtherSession]:
    if options.quiesce_seconds <= 0:
        return []
    relids = [] if observed.relid is None else [observed.relid]
    return [
        blocker.session
        for blocker in read_blockers(connection, relids)
        if not (blocker.is_ours or blocker.builds_index or blocker.gives_way)
        and (blocker.transaction_age_seconds or 0.0) >= options.quiesce_age_seconds
    ]


def _signalable(
    blockers: Sequence[OtherSession], options: WatchOptions, datname: str
) -> Sequence[OtherSession]:
    """Return the blockers that the policy may signal."""
    if options.on_blocker is BlockerPolicy.WAIT:
        return []
    return [blocker for blocker in blockers if why_protected(blocker, options.patterns, datname) is None]


def _longest_wait_seconds(options: WatchOptions, *, may_signal: bool) -> float:
    """Return how long to wait at most: a policy that signals sessions is given the time to do so."""
    if not may_signal:
        return options.quiesce_seconds
    return max(options.quiesce_seconds, options.blocker_limit_seconds + 5 * _POLL_SECONDS)
