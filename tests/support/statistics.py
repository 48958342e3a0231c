"""Waiting until the server's statistics show what sessions did."""

import time

from tests.conftest import TestDatabase
from tests.support.waiting import wait_for

# Before PostgreSQL 15 a reader is content with a file of statistics that is half a second old.
COLLECTOR_DELAY_SECONDS = 0.6


def wait_for_statistics(database: TestDatabase, *pids: int) -> None:
    """Returns when these sessions have ended, which is when they report, and readers see what they did."""
    alive = "SELECT FROM pg_stat_activity WHERE pid = ANY (%s)"
    wait_for(f"the end of sessions {pids}", lambda: database.execute(alive, [list(pids)]) == [] or None)
    if database.server.version_num < 150000:
        time.sleep(COLLECTOR_DELAY_SECONDS)
