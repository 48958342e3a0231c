"""Which connections count as standbys: those that replay, whatever else reads the WAL."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg import sql

from tests.conftest import OwnServer, TestDatabase
from tests.postgres.metrics.collecting import collect_once, described, failures, page_of
from tests.support.postgres_server import Kind, PostgresServer, local_binaries
from tests.support.run_directory import run_guard
from tests.support.waiting import wait_for

STREAMING = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"


def walsenders(server: PostgresServer) -> int | None:
    return collect_once(described(TestDatabase(server, "postgres"))).walsenders


def wait_for_walsenders(server: PostgresServer, expected: int) -> None:
    """A standby replays before its first reply says so."""
    wait_for(f"{expected} standbys", lambda: True if walsenders(server) == expected else None)


def test_standbys_count_and_what_copies_wal_does_not(
    every_version: Kind, own_server: OwnServer, own_standby: OwnServer, tmp_path: Path
) -> None:
    # A standby gives no backup of itself without full pages.
    primary = own_server({"full_page_writes": "on"}, kind=every_version)
    assert walsenders(primary) == 0
    standby = own_standby(primary)
    wait_for_walsenders(primary, 1)
    cascaded = own_standby(standby)
    wait_for_walsenders(standby, 1)

    with receiving(primary, tmp_path):
        assert {name for (name,) in primary.execute(STREAMING)} >= {"pg_receivewal"}
        assert walsenders(primary) == 1

    standby.stop()
    wait_for_walsenders(primary, 0)
    assert walsenders(cascaded) == 0


@contextmanager
def receiving(server: PostgresServer, directory: Path) -> Iterator[None]:
    """A pg_receivewal that streams from the server, as an archive does."""
    process = run_guard().spawn(
        [
            *(str(local_binaries("embedded") / "pg_receivewal"), "--directory", str(directory)),
            *("--dbname", server.dsn(""), "--no-loop"),
        ],
        stop_signal=signal.SIGINT,
        output=subprocess.DEVNULL,
    )
    wait_for("the stream", lambda: ("pg_receivewal",) in server.execute(STREAMING) or None)
    try:
        yield
    finally:
        run_guard().stop(process)


def test_a_subscriber_is_no_standby(own_server: OwnServer) -> None:
    server = own_server({"wal_level": "logical"})
    published = TestDatabase(server, server.create_database())
    subscribed = TestDatabase(server, server.create_database())
    for database in (published, subscribed):
        database.execute("CREATE TABLE messages (id int PRIMARY KEY)")
    published.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    # Made beforehand: within one server CREATE SUBSCRIPTION would wait for itself.
    published.execute("SELECT pg_create_logical_replication_slot('subscriber', 'pgoutput')")
    create = "CREATE SUBSCRIPTION mine CONNECTION {} PUBLICATION everything WITH ({})"
    options = sql.SQL("create_slot = false, slot_name = subscriber")
    subscribed.execute(sql.SQL(create).format(sql.Literal(published.dsn), options))
    replays = "SELECT pid FROM pg_stat_replication WHERE replay_lsn IS NOT NULL"
    wait_for("the subscriber's reply", lambda: server.execute(replays) or None)

    # What copies a table counts until it has its own slot.
    wait_for_walsenders(server, 0)
    assert server.execute(replays) != []


def test_who_may_not_see_what_a_receiver_is_does_not_know_how_many_standbys_there_are(
    own_server: OwnServer, own_standby: OwnServer
) -> None:
    primary = own_server()
    primary.execute("CREATE ROLE nobody LOGIN PASSWORD 'throw-away'")
    given = described(TestDatabase(primary, "postgres"), user="nobody", password="throw-away")
    alone = collect_once(given)
    own_standby(primary)
    wait_for_walsenders(primary, 1)
    streaming = collect_once(given)

    assert (alone.walsenders, streaming.walsenders) == (0, None)
    assert failures(streaming)["server"] == "1 WAL senders are hidden; grant pg_monitor"
    assert streaming.facts is not None
    assert "pg_stat_replication_walsenders" not in page_of([streaming])
