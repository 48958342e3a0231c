"""Who may be asked to make way for a build, when a build gives up, and when it makes way itself. Pure.

Nobody is touched unless the user chose so and named whom: sessions that match every kind of pattern given.
Never autovacuum, which ends by itself or keeps the database from wrapping around, never a walsender or any
other process of the server itself, never a session of this tool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.migrate.options import BlockerPolicy, Patterns, WaiterPolicy, WatchOptions
from exporter.postgres.builds.progress import BuildProgress
from exporter.postgres.sessions.other_sessions import OtherSession, shown_duration

# Above this share of its work a build does not make way any more: it is sooner at its end.
YIELD_BELOW_SHARE = 0.8


def why_spared(session: OtherSession, patterns: Patterns, datname: str) -> str | None:
    """Why the session may not be ended; None when it may."""
    if session.gid is not None:
        return "a prepared transaction has no session: COMMIT PREPARED or ROLLBACK PREPARED ends it"
    if session.pid is None or session.backend_type is None or session.backend_start is None:
        return "what it is cannot be seen without pg_read_all_stats"
    if session.backend_type != "client backend":
        return f"a process of the server is never ended ({session.backend_type})"
    if session.is_ours:
        return "it is a session of this tool"
    if not patterns.match(session.application_name, session.usename, datname):
        return "it matches no pattern that was given"
    return None


@dataclass(frozen=True, slots=True)
class Move:
    """Something to do: `signal` is cancel or terminate, of `session`; or the build gives up."""

    reason: str
    session: OtherSession | None = None
    signal: str | None = None
    is_yield: bool = False


def decide(
    build: BuildProgress,
    phase: str,
    share: float,
    stalled_seconds: float,
    options: WatchOptions,
    datname: str,
) -> Iterator[Move]:
    """What is to be done now, by the policies and budgets.

    `phase` is that of the build, or that it waits for its table; `stalled_seconds` how long it has waited
    in it for others than builds of this tool.
    """
    yield from _against_blockers(build, stalled_seconds, options, datname)
    yield from _for_waiters(build, share, options, datname)
    budget = options.budget_seconds(phase)
    if budget is not None and stalled_seconds >= budget:
        who = "; ".join(one.described for one in build.blockers if not one.is_own_build)
        yield Move(
            f"{phase} for more than {shown_duration(budget)}" + (f", last for {who}" if who else ""),
        )


def _against_blockers(
    build: BuildProgress, stalled_seconds: float, options: WatchOptions, datname: str
) -> Iterator[Move]:
    if options.on_blocker is BlockerPolicy.WAIT or stalled_seconds < options.blocker_limit_seconds:
        return
    for one in build.blockers:
        if why_spared(one, options.patterns, datname) is None:
            yield Move(
                f"it has kept the build waiting for {shown_duration(stalled_seconds)}",
                one,
                options.on_blocker.value,
            )


def _for_waiters(build: BuildProgress, share: float, options: WatchOptions, datname: str) -> Iterator[Move]:
    if options.on_waiter is WaiterPolicy.WAIT:
        return
    for one in build.waiters:
        waits_too_long = (one.waiting_seconds or 0.0) >= options.waiter_limit_seconds
        if not waits_too_long or not (one.stops_readers or one.ends_build):
            continue
        may_cancel = why_spared(one, options.patterns, datname) is None
        if options.on_waiter is WaiterPolicy.CANCEL and may_cancel:
            yield Move("it queues behind the build; " + consequence(one), one, "cancel")
        elif options.on_waiter is WaiterPolicy.YIELD and share < YIELD_BELOW_SHARE:
            yield Move(f"made way for {one.described}", is_yield=True)
            return


def consequence(waiter: OtherSession) -> str:
    """What comes of it that the session queues behind a build."""
    told = []
    if waiter.stops_readers:
        told.append("whoever uses the table queues behind it, readers too")
    if waiter.ends_build:
        told.append("at its end the build waits for it in turn, and fails")
    return "; ".join(told) or "it waits until the build ends"


def unlikely_to_help(session: OtherSession) -> str | None:
    """Why a cancel may change nothing; None where it ends the wait."""
    if (session.state or "").startswith("idle in transaction"):
        return "a cancel ends a statement, and it runs none: only terminate ends its transaction"
    return None
