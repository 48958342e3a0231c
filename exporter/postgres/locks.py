"""This tool's advisory lock on one table: one run at a time builds there.

Taken in the build's own session, so that it lives as long as the build in the server, even when the client
dies. Polled and never waited for: a session that waits for an advisory lock holds a snapshot, for which a
concurrent build would wait for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from exporter.postgres.queries import query_text
from exporter.postgres.target import Connection

# "pgix" in ASCII: the class of all advisory locks of this tool.
TOOL_KEY = 0x70676978


def acquire_table_lock(
    connection: Connection,
    relid: int,
    *,
    budget_seconds: float,
    give_up: Callable[[], bool] = lambda: False,
    poll_seconds: float = 0.2,
) -> bool:
    """True when the session holds the lock of the table, False when another kept it over the budget."""
    text = query_text("advisory_lock", server_version_num=connection.info.server_version)
    deadline = time.monotonic() + budget_seconds
    while True:
        row = connection.execute(text, {"tool": TOOL_KEY, "relid": relid}).fetchone()
        if row is not None and row[0]:
            return True
        if give_up() or time.monotonic() >= deadline:
            return False
        time.sleep(poll_seconds)
