"""Sessions of this tool that work in the server, perhaps for a run that is dead: known by their names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from exporter.postgres.fetching import fetch, fetch_one, query_for
from exporter.postgres.target import APPLICATION_NAME, Connection

_MAX_NAME_BYTES = 63


@dataclass(frozen=True, slots=True)
class ToolSession:
    """A session that builds on a table, drops from it or queues for it.

    `has_live_run`: its run has other sessions too. Units: seconds.
    Source: pg_stat_activity, pg_stat_progress_create_index, pg_locks (14).
    """

    pid: int
    application_name: str
    is_drop: bool
    is_at_work: bool
    has_live_run: bool
    working_seconds: float | None


@dataclass(frozen=True, slots=True)
class SessionStart:
    """When a session started its statement. Source: pg_stat_activity.query_start (14)."""

    pid: int
    query_start: datetime | None


def session_name(run: str, subject: str) -> str:
    """The application_name of a session that works on `subject`, an index or a table; 63 bytes at most."""
    prefix = f"{APPLICATION_NAME}/{run}/"
    return prefix + subject.encode()[: _MAX_NAME_BYTES - len(prefix)].decode(errors="ignore")


def run_of(application_name: str | None) -> str | None:
    """The run of this tool that a session belongs to, None for any other session."""
    first, _, rest = (application_name or "").partition("/")
    if first != APPLICATION_NAME and not first.startswith(APPLICATION_NAME + "-"):
        return None
    return rest.partition("/")[0] or None


def read_tool_session(connection: Connection, pid: int, relid: int | None) -> ToolSession | None:
    """What the session of that process does on the table, None when it is gone."""
    parameters = {"pid": pid, "relid": relid or 0}
    return fetch_one(connection, "tool_sessions", ToolSession, **parameters)


def read_session_starts(connection: Connection, pids: Collection[int]) -> dict[int, datetime | None]:
    """When each of the sessions started its statement, by process."""
    rows = fetch(connection, "session_starts", SessionStart, pids=list(pids))
    return {row.pid: row.query_start for row in rows}


def cancel_tool_session(connection: Connection, work: ToolSession) -> bool:
    """Return True if the session was signalled to cancel its statement, False if it has ended.

    Raises: psycopg.Error when the server refuses.
    """
    text = query_for(connection, "cancel_tool_session")
    parameters = {"pid": work.pid, "application_name": work.application_name}
    row = connection.execute(text, parameters).fetchone()
    return row is not None and bool(row[0])
