"""Sessions that a build waits for, or that wait for it: their properties, and how to end them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exporter.parsing.text import without_constants
from exporter.postgres.fetching import query_for
from exporter.postgres.target import APPLICATION_NAME, Connection

_QUERY_CHARACTERS = 120
_CONFLICTING = (
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)


@dataclass(frozen=True, slots=True)
class OtherSession:
    """A session beside a build, or a prepared transaction, which has a `gid` and no `pid`.

    `mode` is the lock that it waits for, or that the prepared transaction holds. `query` is as the server
    shows it. What belongs to a session of another role is None without pg_read_all_stats.
    Units: seconds. Source: pg_stat_activity, pg_locks, pg_prepared_xacts (14).
    """

    pid: int | None
    gid: str | None
    usename: str | None
    application_name: str | None
    backend_type: str | None
    state: str | None
    mode: str | None
    has_snapshot: bool | None
    prevents_wraparound: bool | None
    transaction_age_seconds: float | None
    waiting_seconds: float | None
    backend_start: datetime | None
    xact_start: datetime | None
    query: str | None

    @property
    def is_own_build(self) -> bool:
        """True for a build of this tool: it ends by itself, and its own progress is shown."""
        return (self.application_name or "").startswith(f"{APPLICATION_NAME}/")

    @property
    def is_ours(self) -> bool:
        """True for every session of this tool."""
        return (self.application_name or "").startswith(APPLICATION_NAME)

    @property
    def stops_readers(self) -> bool:
        """True when it queues for a lock that everybody else queues behind, readers too."""
        return self.mode == "AccessExclusiveLock"

    @property
    def ends_build(self) -> bool:
        """True when the build and it will wait for each other at the end, where the build falls.

        A session queued for the table holds a snapshot that the build waits for at its end; VACUUM does not.
        """
        is_vacuum = self.mode == "ShareUpdateExclusiveLock" and (
            self.backend_type == "autovacuum worker" or (self.query or "").lstrip()[:6].upper() == "VACUUM"
        )
        return bool(self.has_snapshot) and self.mode in _CONFLICTING and not is_vacuum

    @property
    def name(self) -> str:
        """What it is called: a process or a prepared transaction."""
        if self.pid is not None:
            return f"pid {self.pid}"
        return "a prepared transaction" if self.gid is None else f"prepared transaction {self.gid!r}"

    @property
    def shown_query(self) -> str | None:
        """Its statement on one line, cut, without the constants: they can be secrets."""
        if not self.query:
            return None
        text = without_constants(self.query)
        return text if len(text) <= _QUERY_CHARACTERS else text[: _QUERY_CHARACTERS - 1] + "…"

    @property
    def described(self) -> str:
        """Who it is, in words: pid, user, application, state, ages and the statement, as far as known."""
        parts = [self.name]
        if self.usename:
            parts.append(f"user {shown_on_one_line(self.usename)}")
        if self.application_name:
            parts.append(shown_on_one_line(self.application_name))
        if self.backend_type is not None and self.backend_type != "client backend":
            against = " against wraparound" if self.prevents_wraparound else ""
            parts.append(self.backend_type + against)
        if self.state:
            parts.append(self.state)
        if self.transaction_age_seconds is not None:
            parts.append(f"transaction open for {shown_duration(self.transaction_age_seconds)}")
        if self.shown_query:
            parts.append(self.shown_query)
        return ", ".join(parts)

    def as_detail(self) -> dict[str, Any]:
        """What the journal keeps of it."""
        return {
            name: value
            for name, value in (
                ("pid", self.pid),
                ("gid", self.gid),
                ("usename", self.usename),
                ("application_name", self.application_name),
                ("backend_type", self.backend_type),
                ("state", self.state),
                ("mode", self.mode),
                ("transaction_age_seconds", _rounded(self.transaction_age_seconds)),
                ("waiting_seconds", _rounded(self.waiting_seconds)),
                ("query", self.shown_query),
            )
            if value is not None
        }


def signal_session(connection: Connection, session: OtherSession, signal: str) -> bool:
    """Return True if the session was signalled (`cancel` or `terminate`), False if it has ended.

    A session in another transaction than the one that was seen counts as gone.
    Raises: psycopg.Error when the server refuses.
    """
    text = query_for(connection, "signal_session")
    row = connection.execute(
        text,
        {
            "signal": signal,
            "pid": session.pid,
            "backend_start": session.backend_start,
            "xact_start": session.xact_start,
        },
    ).fetchone()
    return row is not None and bool(row[0])


def shown_duration(seconds: float) -> str:
    """A duration as people read it at a glance: 12 s, 4 min 10 s, 3 h 5 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    for size, unit, smaller_size, smaller_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def shown_on_one_line(text: str) -> str:
    """The text without what moves a cursor or breaks a line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
