"""What an application that writes feels of a migration: nothing fails, and nobody waits for a lock of ours.

The server says for whose locks a writer waited, so that no time has to be measured; how long writes take
beside a build is measured in bench/writers.py.
"""

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.conftest import TestDatabase
from tests.faults.migrate.programs import BUILT, Tool
from tests.support.builds import indexes_of, reader, waiting_build, waiting_drop, writer
from tests.support.postgres_server import Connection
from tests.support.tools import find_tool
from tests.support.waiting import wait_for
from tests.support.writers import Writers, writing

WRITES = 30
PARTITIONED = """
migration: 001_test
indexes:
  - {name: idx_events, table: events, columns: [sender_id], role: statistics}
"""
EVENTS = """
    CREATE TABLE events (LIKE messages) PARTITION BY RANGE (id);
    CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (0) TO (1000000);
    CREATE TABLE events_new PARTITION OF events FOR VALUES FROM (1000000) TO (maxvalue);
    INSERT INTO events SELECT * FROM messages;
    ANALYZE;
"""


def go_on_writing(writers: Writers) -> None:
    """Returns when the writers have written some more."""
    before = writers.written
    wait_for("more writes", lambda: writers.written >= before + WRITES or None)


def test_a_lock_that_writers_do_wait_for_is_seen(shop: TestDatabase) -> None:
    with writing(shop) as writers:
        go_on_writing(writers)
        with shop.connect() as other:
            other.execute("BEGIN")
            other.execute("CREATE INDEX ON messages (id)")
            waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'messages'::regclass"
            wait_for("three writers that wait", lambda: len(shop.execute(waiting)) == 3 or None)
            other.execute("ROLLBACK")

    # The connection of a test has no name.
    assert {(wait.mode, wait.subject.split()[0]) for wait in writers.waits("")} == {
        ("RowExclusiveLock", "relation")
    }


def test_writers_wait_for_no_lock_of_psqls_own_build(shop: TestDatabase) -> None:
    with writing(shop) as writers:
        for statement in (
            "CREATE INDEX CONCURRENTLY idx_sender ON messages (sender_id)",
            "ANALYZE messages",
            "DROP INDEX CONCURRENTLY idx_sender",
        ):
            subprocess.run([find_tool("psql"), "-Xqd", shop.dsn, "-c", statement], check=True)

    assert writers.waits("psql") == []


def test_writers_wait_for_no_lock_of_ours_from_the_first_build_to_the_last_drop(
    shop: TestDatabase, tool: Tool
) -> None:
    with writing(shop) as writers:
        tool.finish(shop.dsn)
        assert indexes_of(shop) == BUILT
        tool.finish(shop.dsn, name="rollback")
        assert indexes_of(shop) == {}

    assert writers.waits() == []


def test_writers_wait_for_no_lock_of_ours_while_it_waits_is_killed_and_cleans_up(
    shop: TestDatabase, tool: Tool
) -> None:
    with writing(shop) as writers, reader(shop) as open_reader:
        with writer(shop) as open_writer:
            process = tool.start(shop.dsn)
            pid = waiting_build(shop)
            go_on_writing(writers)
            process.kill()
            go_on_writing(writers)
            tool.start(shop.dsn)
            tool.wait_for_word(f"following the build by pid {pid}")
            go_on_writing(writers)
            # The next run drops what is left, which waits for the reader.
            shop.execute("SELECT pg_terminate_backend(%s)", [pid])
            waiting_drop(shop)
            go_on_writing(writers)
            open_writer.execute("ROLLBACK")
        open_reader.execute("ROLLBACK")
        wait_for("all indexes", lambda: indexes_of(shop) == BUILT or None)

    assert writers.waits() == []


@pytest.mark.parametrize("hold", [writer, reader])
def test_writers_of_a_partitioned_table_pass_while_others_hold_the_lock_it_wants(
    shop: TestDatabase, tool: Tool, hold: Callable[[TestDatabase, str], AbstractContextManager[Connection]]
) -> None:
    """A lock that PostgreSQL itself wants for a moment is queued for a moment only, and given up."""
    tool.manifest.write_text(PARTITIONED)
    shop.execute(EVENTS)
    # Attached, not built: who has planned on the leaf holds its lock.
    shop.execute("CREATE INDEX stood_before ON events_old (sender_id)")
    with writing(shop, ["events"]) as writers:
        with hold(shop, "events") as holder:
            process = tool.start(shop.dsn)
            tool.wait_for_word("other sessions hold the lock that it needs: trying again")
            go_on_writing(writers)
            holder.execute("ROLLBACK")
        assert process.wait(timeout=120) == 0, tool.output

    # As they would behind psql's own statement, which queues for as long as the lock is held.
    assert {wait.subject.split()[0] for wait in writers.waits()} == {"relation"}
