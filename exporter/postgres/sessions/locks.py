"""This tool's advisory lock on one table: one run at a time builds there.

Taken in the build's own session, so that it lives as long as the build in the server, even when the client
dies. Polled and never waited for: a session that waits for an advisory lock holds a snapshot, for which a
concurrent build would wait without end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from exporter.postgres.fetching import fetch_one, query_for
from exporter.postgres.target import Connection

# "pgix" in ASCII: the class of all advisory locks of this tool.
TOOL_KEY = 0x70676978


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The session that holds the lock; `is_active` while it works on a statement. Source: pg_locks."""

    pid: int
    application_name: str | None
    usename: str | None
    is_active: bool


def raise_deadlock_timeout(connection: Connection, seconds: float) -> bool:
    """True when this session looks for deadlocks only after that time, False where the role may not set it.

    Of two sessions that wait for each other the one that looks first is ended.
    """
    text = query_for(connection, "raise_deadlock_timeout")
    milliseconds = round(seconds * 1000)
    return connection.execute(text, {"milliseconds": milliseconds}).fetchone() is not None


def acquire_table_lock(
    connection: Connection,
    relid: int,
    *,
    budget_seconds: float,
    give_up: Callable[[], bool] = lambda: False,
    on_held: Callable[[LockHolder], None] = lambda holder: None,
    poll_seconds: float = 0.2,
) -> bool:
    """True when the session holds the lock of the table, False when another kept it over the budget.

    A holder that works on a statement does not use up the budget: it builds, and its own deadline ends it.
    """
    text = query_for(connection, "advisory_lock")
    waited_seconds = 0.0
    while True:
        row = connection.execute(text, {"tool": TOOL_KEY, "relid": relid}).fetchone()
        if row is not None and row[0]:
            return True
        holder = read_lock_holder(connection, relid)
        if holder is not None:
            on_held(holder)
        if give_up() or waited_seconds >= budget_seconds:
            return False
        time.sleep(poll_seconds)
        if holder is None or not holder.is_active:
            waited_seconds += poll_seconds


def read_lock_holder(connection: Connection, relid: int) -> LockHolder | None:
    """Return the other session that holds the lock of the table, None without one."""
    return fetch_one(connection, "table_lock_holder", LockHolder, tool=TOOL_KEY, relid=relid)
