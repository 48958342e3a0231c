"""The workload on a real database: it measures, it writes, and it uses the indexes once they are there."""

import threading

import psycopg
import pytest

from exporter.demo import nova
from exporter.demo.statements import statement
from exporter.demo.workload import KINDS, run_gently, run_workload
from tests.conftest import TestDatabase
from tests.support.waiting import wait_for

USERS = 800
INDEXES = {
    "idx_messages_sender_created": "messages (sender_id, created_at DESC) WHERE deleted_at IS NULL",
    "idx_posts_user_created": "posts (user_id, created_at DESC) WHERE deleted_at IS NULL",
}
SCANS = "SELECT relname, idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s"


def test_every_kind_has_its_latency(nova_database: TestDatabase) -> None:
    told: list[float] = []

    result = run_workload(nova_database.dsn, users=USERS, duration_seconds=1.0, on_progress=told.append)

    assert [latency.kind for latency in result.latencies] == list(KINDS)
    assert all(latency.count >= 1 for latency in result.latencies)
    assert all(0 < latency.median_seconds <= latency.p95_seconds for latency in result.latencies)
    assert result.duration_seconds >= 1.0
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_every_read_finds_rows(nova_database: TestDatabase) -> None:
    with nova_database.connect() as connection:
        for kind, most in (("message_history", 50), ("user_timeline", 20), ("feed", 50)):
            rows = connection.execute(statement(kind), {"user_id": nova.user_id(0)}).fetchall()
            assert 0 < len(rows) <= most
            written = [row[-1] for row in rows]
            assert written == sorted(written, reverse=True)


def test_messages_are_written_and_only_those_are_deleted(nova_database: TestDatabase) -> None:
    deleted = "SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL"
    before = nova_database.execute(deleted)[0][0]

    result = run_workload(nova_database.dsn, users=USERS, duration_seconds=0.5, connections=1)

    counts = {latency.kind: latency.count for latency in result.latencies}
    assert nova_database.execute("SELECT count(*) FROM messages") == [(20_000 + counts["insert_message"],)]
    assert nova_database.execute(deleted) == [(before + counts["delete_message"],)]


@pytest.mark.parametrize("name", INDEXES)
def test_the_indexes_are_used_once_they_are_there(nova_database: TestDatabase, name: str) -> None:
    nova_database.execute(f"CREATE INDEX {name} ON {INDEXES[name]}")

    run_workload(nova_database.dsn, users=USERS, duration_seconds=0.5)

    def scanned() -> int | None:
        ((_, scans),) = nova_database.execute(SCANS, (name,))
        return scans or None

    assert wait_for("a counted scan", scanned) > 0


def test_the_gentle_workload_works_until_it_is_told_to_stop(nova_database: TestDatabase) -> None:
    stop = threading.Event()
    worker = threading.Thread(
        target=run_gently, args=(nova_database.dsn,), kwargs={"users": USERS, "stop": stop}
    )
    worker.start()

    def written() -> bool | None:
        return nova_database.execute("SELECT count(*) > 20000 FROM messages")[0][0] or None

    wait_for("a message", written)
    assert worker.is_alive()
    stop.set()
    worker.join()


def test_a_database_that_is_not_there_is_an_error_not_a_result(nova_database: TestDatabase) -> None:
    dsn = nova_database.server.dsn("no_such_database")

    with pytest.raises(psycopg.OperationalError, match="no_such_database"):
        run_workload(dsn, users=USERS, duration_seconds=30)
