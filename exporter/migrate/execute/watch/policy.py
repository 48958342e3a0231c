"""Which sessions may be signalled for a build, and when a build is abandoned or yields. Pure.

No session is signalled unless the user chose a policy and named the sessions: those that match every kind of
pattern given. Never signalled are autovacuum workers, walsenders and all other processes of the server, and
sessions of this tool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.migrate.events import WatchObservation
from exporter.migrate.options import BlockerPolicy, Patterns, WaiterPolicy, WatchOptions
from exporter.postgres.sessions.other_sessions import OtherSession, shown_duration

# A build that has done more than this share of its work does not yield: it ends soon.
YIELD_BELOW_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do for a build: send `signal` (cancel or terminate) to `session`; without one, abandon it.

    `is_yield`: the build is abandoned in favour of a waiter, and may be tried again.
    """

    reason: str
    session: OtherSession | None = None
    signal: str | None = None
    is_yield: bool = False


def why_protected(session: OtherSession, patterns: Patterns, datname: str) -> str | None:
    """Return why the session may not be signalled; None if it may."""
    if session.gid is not None:
        return "a prepared transaction has no session: COMMIT PREPARED or ROLLBACK PREPARED ends it"
    if session.pid is None or session.backend_type is None or session.backend_start is None:
        return "without pg_read_all_stats its kind is unknown"
    if session.backend_type != "client backend":
        return f"a process of the server is never signalled ({session.backend_type})"
    if session.is_ours:
        return "it is a session of this tool"
    if not patterns.match(session.application_name, session.usename, datname):
        return "it matches none of the given patterns"
    return None


def decide(observation: WatchObservation, options: WatchOptions, datname: str) -> Iterator[Action]:
    """Yield the actions that the policies and budgets ask for now."""
    yield from _for_blockers(observation, options, datname)
    yield from _for_waiters(observation, options, datname)
    phase = observation.phase or ""
    budget_seconds = options.budget_seconds(phase)
    if budget_seconds is not None and observation.stalled_seconds >= budget_seconds:
        others = "; ".join(
            blocker.described for blocker in observation.build.blockers if not blocker.is_own_build
        )
        last = f", last for {others}" if others else ""
        yield Action(f"{phase} for more than {shown_duration(budget_seconds)}{last}")


def _for_blockers(observation: WatchObservation, options: WatchOptions, datname: str) -> Iterator[Action]:
    stalled_seconds = observation.stalled_seconds
    if options.on_blocker is BlockerPolicy.WAIT or stalled_seconds < options.blocker_limit_seconds:
        return
    for blocker in observation.build.blockers:
        if why_protected(blocker, options.patterns, datname) is None:
            reason = f"it has blocked the build for {shown_duration(stalled_seconds)}"
            yield Action(reason, blocker, options.on_blocker.value)


def _for_waiters(observation: WatchObservation, options: WatchOptions, datname: str) -> Iterator[Action]:
    if options.on_waiter is WaiterPolicy.WAIT:
        return
    share = observation.estimate.share
    for waiter in observation.build.waiters:
        waits_too_long = (waiter.waiting_seconds or 0.0) >= options.waiter_limit_seconds
        if not waits_too_long or not (waiter.stops_readers or waiter.ends_build):
            continue
        may_cancel = why_protected(waiter, options.patterns, datname) is None
        if options.on_waiter is WaiterPolicy.CANCEL and may_cancel:
            yield Action("it waits for the build; " + consequence(waiter), waiter, "cancel")
        elif options.on_waiter is WaiterPolicy.YIELD and share < YIELD_BELOW_SHARE:
            yield Action(f"yielded to {waiter.described}", is_yield=True)
            return


def consequence(waiter: OtherSession) -> str:
    """Return what happens because the session waits for the build."""
    consequences = []
    if waiter.stops_readers:
        consequences.append("every later session on the table waits for it, readers too")
    if waiter.ends_build:
        consequences.append("the build will wait for it at the end, and fail by deadlock")
    return "; ".join(consequences) or "it waits until the build ends"


def why_cancel_is_useless(session: OtherSession) -> str | None:
    """Return why a cancel does not end the wait; None if it does."""
    if (session.state or "").startswith("idle in transaction"):
        return "a cancel ends a statement, and it runs none: only terminate ends its transaction"
    return None
