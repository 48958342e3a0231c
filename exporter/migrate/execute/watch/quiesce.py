"""Waiting for those who would hold a build up, before it begins: there it costs nothing.

A build that waits at its end keeps the horizon of VACUUM and an index that every write has to maintain.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from exporter.migrate.execute.step_run import Site
from exporter.migrate.execute.watch.actions import Actor
from exporter.migrate.execute.watch.policy import Move, why_spared
from exporter.migrate.options import BlockerPolicy, WatchOptions
from exporter.model import ObservedIndex, Step
from exporter.postgres.journal import EventStatus, Phase
from exporter.postgres.sessions.blockers import read_blockers
from exporter.postgres.sessions.other_sessions import OtherSession, shown_duration
from exporter.postgres.target import Connection

_POLL_SECONDS = 0.5


def wait_until_quiet(
    site: Site, step: Step, connection: Connection, observed: ObservedIndex, attempt: int
) -> bool:
    """True when the build may begin: nobody would hold it up, or they were waited for long enough.

    False when the run was stopped meanwhile. Young transactions do not count: they end by themselves.
    """
    options = site.options.watch
    actor = Actor(site)
    started = time.monotonic()
    told: set[int | str | None] = set()
    while True:
        blockers = _blockers(connection, observed, options)
        waited_seconds = time.monotonic() - started
        if not blockers:
            if told:
                site.record(Phase.QUIESCED, EventStatus.DONE, observed, attempt)
            return not site.stopping.is_set()
        if not told:
            names = "; ".join(one.described for one in blockers)
            site.record(Phase.QUIESCED, EventStatus.IN_PROGRESS, observed, attempt, names)
        for one in blockers:
            if one.name not in told:
                told.add(one.name)
                site.on_note(step, f"waits before it begins for {one.described}")
        may_end = [
            one
            for one in blockers
            if options.on_blocker is not BlockerPolicy.WAIT
            and why_spared(one, options.patterns, site.database.datname) is None
        ]
        if waited_seconds >= options.blocker_limit_seconds:
            reason = f"it would hold the build up, and was waited for for {shown_duration(waited_seconds)}"
            for one in may_end:
                actor.act(connection, step, Move(reason, one, options.on_blocker.value))
        if waited_seconds >= _patience_seconds(options, can_end=bool(may_end)):
            site.on_note(
                step, f"begins after {shown_duration(waited_seconds)}, and will wait for them in the server"
            )
            site.record(
                Phase.QUIESCED, EventStatus.FAILED, observed, attempt, "; ".join(one.name for one in blockers)
            )
            return not site.stopping.is_set()
        if site.stopping.wait(_POLL_SECONDS):
            return False


def _blockers(
    connection: Connection, observed: ObservedIndex, options: WatchOptions
) -> Sequence[OtherSession]:
    if options.quiesce_seconds <= 0:
        return []
    relids = [] if observed.relid is None else [observed.relid]
    return [
        one.session
        for one in read_blockers(connection, relids)
        if not (one.is_ours or one.builds_index or one.gives_way)
        and (one.transaction_age_seconds or 0.0) >= options.quiesce_age_seconds
    ]


def _patience_seconds(options: WatchOptions, *, can_end: bool) -> float:
    """How long at least: a policy that ends sessions is given the time to do so."""
    if not can_end:
        return options.quiesce_seconds
    return max(options.quiesce_seconds, options.blocker_limit_seconds + 5 * _POLL_SECONDS)
