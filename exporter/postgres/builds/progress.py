"""Builds that run in the server: phase, done share, and the sessions they wait for or that wait for them.

Used by the builder, which follows its own, and by the exporter. Reads only; decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from itertools import groupby

from exporter.postgres.builds import phases
from exporter.postgres.requests import Request, ask
from exporter.postgres.sessions.other_sessions import OtherSession
from exporter.postgres.target import Connection


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """One running build, or another statement that was asked for by its process.

    `index_relid` is 0 and `indexname` None while the server does not name the index; `ancestors` are the
    oids of the partitioned tables above the table. `phase` and `command` are None for a process without
    progress, and for a build of another role without pg_read_all_stats.
    `waiting_seconds` is how long it has waited for the lock that it waits for now.
    `blockers` are the sessions it waits for now, the oldest transaction first; of several that it has to
    wait for in turn the server names one at a time, `lockers_total` counts them. `waiters` wait for it.
    Units: seconds. Source: pg_stat_progress_create_index, pg_stat_activity, pg_locks (14).
    """

    pid: int
    relid: int | None
    index_relid: int | None
    application_name: str | None
    usename: str | None
    command: str | None
    phase: str | None
    lockers_total: int | None
    lockers_done: int | None
    blocks_total: int | None
    blocks_done: int | None
    tuples_total: int | None
    tuples_done: int | None
    indexname: str | None
    amname: str | None
    ancestors: Sequence[int]
    waiting_seconds: float | None
    blockers: tuple[OtherSession, ...] = ()
    waiters: tuple[OtherSession, ...] = ()

    @property
    def is_concurrent(self) -> bool:
        """True unless writers of the table wait for the whole build."""
        return self.command is None or self.command.endswith("CONCURRENTLY")

    @property
    def phase_share(self) -> float | None:
        """How much of the current phase is done, 0 to 1; None where the server does not count."""
        phase = self.phase or ""
        if phases.counts_blocks(phase):
            total, done = self.blocks_total, self.blocks_done
        elif phases.counts_tuples(phase):
            total, done = self.tuples_total, self.tuples_done
        else:
            return None
        return min(1.0, done / total) if total and done is not None else None

    @property
    def span(self) -> tuple[float, float] | None:
        """The share of the whole that is done when this phase begins, and when it ends; None if unknown."""
        return phases.span(self.phase or "", method=self.amname, concurrently=self.is_concurrent)

    @property
    def share(self) -> float | None:
        """How much of the whole build is done, 0 to 1, by the measured weights of its phases."""
        if self.span is None:
            return None
        start, end = self.span
        return min(1.0, start + (end - start) * (self.phase_share or 0.0))

    @property
    def blocker_age_seconds(self) -> float | None:
        """The age of the oldest transaction that it waits for; None where it waits for none, or unknown."""
        ages = [one.transaction_age_seconds for one in self.blockers if not one.is_own_build]
        return max((age for age in ages if age is not None), default=None)

    @property
    def waiter_count(self) -> int:
        """How many sessions wait for it, or behind those that do."""
        return len(self.waiters)

    @property
    def stops_readers(self) -> int:
        """1 while one of them waits for a lock that readers of the table queue behind, else 0."""
        return int(any(one.stops_readers for one in self.waiters))


@dataclass(frozen=True, slots=True)
class BuildRow:
    """A build with one session beside it; `other_role` is blocker, waiter, or None without a session."""

    pid: int
    relid: int | None
    index_relid: int | None
    application_name: str | None
    usename: str | None
    command: str | None
    phase: str | None
    lockers_total: int | None
    lockers_done: int | None
    blocks_total: int | None
    blocks_done: int | None
    tuples_total: int | None
    tuples_done: int | None
    indexname: str | None
    amname: str | None
    ancestors: Sequence[int]
    waiting_seconds: float | None
    other_role: str | None
    other_pid: int | None
    other_gid: str | None
    other_usename: str | None
    other_application_name: str | None
    other_backend_type: str | None
    other_state: str | None
    other_mode: str | None
    other_has_snapshot: bool | None
    other_prevents_wraparound: bool | None
    other_transaction_age_seconds: float | None
    other_waiting_seconds: float | None
    other_backend_start: datetime | None
    other_xact_start: datetime | None
    other_query: str | None

    @property
    def build(self) -> BuildProgress:
        """The build alone."""
        names = [one.name for one in fields(BuildProgress) if one.name not in ("blockers", "waiters")]
        return BuildProgress(**{name: getattr(self, name) for name in names})

    @property
    def other(self) -> OtherSession:
        """The session alone."""
        names = [one.name for one in fields(OtherSession)]
        return OtherSession(**{name: getattr(self, f"other_{name}") for name in names})


def running_builds(pids: Collection[int] = ()) -> Request[BuildRow]:
    """The builds that run in this database now, and what else the processes `pids` do."""
    return Request("build_progress", BuildRow, {"pids": list(pids)})


def combined_builds(rows: Iterable[BuildRow]) -> list[BuildProgress]:
    """Each build with its blockers and waiters."""
    return [_combined(list(group)) for _, group in groupby(rows, key=lambda row: row.pid)]


def read_builds(connection: Connection, pids: Collection[int] = ()) -> list[BuildProgress]:
    """The builds that run in this database now, and what else the processes `pids` do."""
    return combined_builds(ask(connection, running_builds(pids)))


def _combined(rows: Sequence[BuildRow]) -> BuildProgress:
    return replace(
        rows[0].build,
        blockers=tuple(row.other for row in rows if row.other_role == "blocker"),
        waiters=tuple(row.other for row in rows if row.other_role == "waiter"),
    )
