"""What /metrics says while a database is in trouble, and that it recovers without a restart."""

import dataclasses
import logging
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from psycopg import sql

from exporter.metrics.service import ServiceOptions, serving
from exporter.model import Database, Manifest, Target
from exporter.secret import SecretStr
from tests.conftest import OwnServer, TestDatabase
from tests.faults.scraping import Scrape, scrape
from tests.postgres.metrics.collecting import declare, described
from tests.support.postgres_server import LocalServer, PostgresServer, wait_for_replay
from tests.support.proxy import proxy_to
from tests.support.waiting import wait_for

DECLARED = declare("idx_messages_id", "messages")
OPTIONS = ServiceOptions(listen_address="127.0.0.1:0")
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg-index-exporter'"


@pytest.fixture
def own_database(own_server: OwnServer) -> TestDatabase:
    """A database with the declared index on a server that the test may stop."""
    server = own_server()
    server.execute("CREATE EXTENSION pg_stat_statements")
    server.execute("CREATE TABLE messages (id int)")
    server.execute("CREATE INDEX idx_messages_id ON messages (id)")
    return TestDatabase(server, "postgres")


@contextmanager
def exporter_of(*databases: Database, options: ServiceOptions = OPTIONS) -> Iterator[str]:
    with serving([Target("default", databases)], options) as url:
        yield url


def nowhere(conninfo: str) -> Database:
    """A database at an address where none is."""
    manifest = Manifest("m.yaml", "090_test", ("public",), (), (DECLARED,))
    return Database("nova", SecretStr(conninfo), (manifest,))


def assert_is_down(answer: Scrape) -> None:
    """200, everything that is known without the database, and nothing else."""
    assert answer.status_code == 200
    assert answer.target_up == 0
    assert answer.value("pg_index_exporter_database_up") == 0
    assert answer.value("pg_index_declared", indexname="idx_messages_id") == 1
    assert answer.value("pg_index_exporter_collector_success", collector="indexes") == 0
    assert answer.value("pg_index_exporter_build_info") == 1
    for absent in ("pg_index_present", "pg_stat_user_indexes_idx_scan_total", "pg_in_recovery"):
        assert answer.value(absent) is None


def assert_is_up(answer: Scrape) -> None:
    assert answer.status_code == 200
    assert answer.target_up == 1
    assert answer.value("pg_index_present", indexname="idx_messages_id") == 1
    assert answer.value("pg_index_exporter_collector_success", collector="definitions") == 1


def recovered(url: str) -> Scrape:
    """The first good scrape."""

    def look() -> Scrape | None:
        answer = scrape(url)
        return answer if answer.target_up == 1 else None

    return wait_for("the recovery", look)


def test_a_server_that_stops_and_starts(own_database: TestDatabase) -> None:
    with exporter_of(described(own_database, DECLARED)) as url:
        assert_is_up(scrape(url))

        own_database.server.stop()
        assert_is_down(scrape(url))
        assert_is_down(scrape(url))

        own_database.server.start()
        assert_is_up(recovered(url))


def test_a_server_that_is_killed(own_database: TestDatabase) -> None:
    with exporter_of(described(own_database, DECLARED)) as url:
        assert_is_up(scrape(url))
        own_database.server.kill()
        assert_is_down(scrape(url))
        own_database.server.start()
        assert_is_up(recovered(url))


def test_a_server_that_starts_after_the_exporter(own_database: TestDatabase) -> None:
    own_database.server.stop()
    with exporter_of(described(own_database, DECLARED)) as url:
        assert_is_down(scrape(url))
        own_database.server.start()
        assert_is_up(recovered(url))


def test_a_restart_between_two_scrapes_is_not_seen(own_database: TestDatabase) -> None:
    with exporter_of(described(own_database, DECLARED)) as url:
        assert_is_up(scrape(url))
        own_database.server.stop()
        own_database.server.start()
        assert_is_up(scrape(url))


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_server_that_does_not_answer_any_more(own_database: TestDatabase, is_connected: bool) -> None:
    with exporter_of(described(own_database, DECLARED)) as url:
        if is_connected:
            assert_is_up(scrape(url))
        own_database.server.freeze()
        assert_is_down(scrape(url, patience_seconds=1.5))
        assert_is_down(scrape(url, patience_seconds=1.5))
        own_database.server.thaw()
        assert_is_up(recovered(url))
        # Those that were given up notice it once the server goes on.
        wait_for("one connection", lambda: own_database.execute(CONNECTIONS) == [(1,)] or None)


def test_a_backend_that_is_killed(own_database: TestDatabase) -> None:
    terminate = (
        "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity "
        "WHERE application_name = 'pg-index-exporter'"
    )
    with exporter_of(described(own_database, DECLARED)) as url:
        assert_is_up(scrape(url))
        assert own_database.execute(terminate) == [(1,)]
        assert_is_up(scrape(url))


def test_a_backend_that_is_killed_takes_the_server_and_its_counters_with_it(
    own_database: TestDatabase,
) -> None:
    if not isinstance(own_database.server, LocalServer):
        pytest.skip("the processes of a server in a container are not this machine's to kill")
    epoch = "pg_index_observed_since_timestamp_seconds"
    backend = "SELECT pid FROM pg_stat_activity WHERE application_name = 'pg-index-exporter'"
    with exporter_of(described(own_database, DECLARED)) as url:
        before = scrape(url)
        ((pid,),) = own_database.execute(backend)
        os.kill(pid, signal.SIGKILL)
        during = scrape(url)
        after = recovered(url)

    # The server is on its way down, or up again already.
    assert during.status_code == 200
    assert during.value("pg_index_declared", indexname="idx_messages_id") == 1
    assert (during.target_up == 1) == (during.value("pg_index_present") is not None)
    assert_is_up(after)
    # What was counted is lost, and the page says so.
    first, second = before.value(epoch), after.value(epoch)
    assert first is not None
    assert second is not None
    assert second > first


def test_an_address_that_accepts_and_says_nothing(database: TestDatabase) -> None:
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_messages_id ON messages (id)")
    with proxy_to(database.server.port) as proxy:
        proxy.swallow()
        through = dataclasses.replace(described(database, DECLARED), conninfo=proxy.conninfo(database.dsn))
        with exporter_of(through) as url:
            assert_is_down(scrape(url, patience_seconds=1))
            assert_is_down(scrape(url, patience_seconds=1))
            assert proxy.swallowed
            proxy.pass_on()
            assert recovered(url).value("pg_index_present") == 1


def test_a_standby_and_its_promotion(own_server: OwnServer, own_standby: OwnServer) -> None:
    primary = own_server()
    primary.execute("CREATE EXTENSION pg_stat_statements")
    primary.execute("CREATE TABLE messages (id int)")
    primary.execute("CREATE INDEX idx_messages_id ON messages (id)")
    standby = own_standby(primary)
    wait_for_replay(primary, standby)
    backend = "SELECT pid FROM pg_stat_activity WHERE application_name = 'pg-index-exporter'"
    with exporter_of(described(TestDatabase(standby, "postgres"), DECLARED)) as url:
        in_recovery = scrape(url)
        pid = standby.execute(backend)
        primary.kill()
        alone = scrape(url)
        assert standby.execute("SELECT pg_promote()") == [(True,)]
        promoted = scrape(url)
        assert standby.execute(backend) == pid
        standby.execute("DROP INDEX idx_messages_id")
        changed = scrape(url)

    for answer in (in_recovery, alone, promoted):
        assert_is_up(answer)
        assert answer.failed == set()
    assert [answer.value("pg_in_recovery") for answer in (in_recovery, alone, promoted)] == [1, 1, 0]
    assert changed.value("pg_index_present") == 0


def test_an_address_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with exporter_of(nowhere(f"host=127.0.0.1 port={port} user=app")) as url:
        assert_is_down(scrape(url))


def test_a_database_that_is_dropped_leaves_the_other_one(
    server: PostgresServer, database: TestDatabase
) -> None:
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_messages_id ON messages (id)")
    other = TestDatabase(server, server.create_database())
    with exporter_of(described(database, DECLARED), described(other, DECLARED)) as url:
        assert scrape(url).target_up == 1
        server.drop_database(other.name)
        answer = scrape(url)
        server.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (other.name, "template1")))
        )
        after = recovered(url)
        server.drop_database(other.name)

    assert after.value("pg_index_present", datname=other.name) == 0
    assert after.value("pg_index_exporter_database_up", datname=other.name) == 1
    assert answer.target_up == 0
    assert answer.value("pg_index_exporter_database_up", datname=database.name) == 1
    assert answer.value("pg_index_exporter_database_up", datname=other.name) == 0
    assert answer.value("pg_index_present", datname=database.name) == 1
    assert answer.value("pg_index_declared", datname=other.name) == 1
    assert answer.value("pg_in_recovery") == 0


def test_a_database_that_hangs_leaves_the_other_one(server: PostgresServer, database: TestDatabase) -> None:
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_messages_id ON messages (id)")
    other = TestDatabase(server, server.create_database("template1"))
    with proxy_to(server.port) as proxy:
        proxy.swallow()
        hung = dataclasses.replace(described(other, DECLARED), conninfo=proxy.conninfo(other.dsn))
        with exporter_of(described(database, DECLARED), hung) as url:
            during = scrape(url, patience_seconds=2)
            proxy.pass_on()
            after = recovered(url)
    server.drop_database(other.name)

    up = "pg_index_exporter_database_up"
    success = "pg_index_exporter_collector_success"
    assert (during.status_code, during.target_up) == (200, 0)
    assert [during.value(up, datname=each.name) for each in (database, other)] == [1, 0]
    # All of it, up to what is read last.
    assert during.value(success, datname=database.name, collector="definitions") == 1
    assert during.value("pg_index_size_bytes", datname=database.name) is not None
    assert during.value("pg_index_present", datname=other.name) is None
    assert after.value("pg_index_present", datname=other.name) == 0


def test_a_target_that_hangs_holds_no_other(database: TestDatabase) -> None:
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_messages_id ON messages (id)")
    with proxy_to(database.server.port) as proxy, ThreadPoolExecutor(1) as scraper:
        proxy.swallow()
        up = described(database, DECLARED)
        hung = dataclasses.replace(up, conninfo=proxy.conninfo(database.dsn))
        targets = [Target("up", (up,)), Target("hung", (hung,))]
        # The hung one would wait for ever.
        options = dataclasses.replace(OPTIONS, scrape_timeout_seconds=3600, connect_timeout_seconds=3600)
        with serving(targets, options) as url:
            waiting = scraper.submit(scrape, url, path="/probe?target=hung")
            wait_for("the attempt to connect", lambda: proxy.swallowed or None)
            answers = [scrape(url, path=path) for path in ("/probe?target=up", "/metrics")]
            was_waiting = not waiting.done()
            proxy.close()
            down = waiting.result()

    assert was_waiting
    assert answers[0].target_up == 1
    assert answers[1].value("pg_index_exporter_build_info") == 1
    assert down.target_up == 0


@pytest.mark.parametrize(
    "conninfo",
    [
        "host=127.0.0.1 port={port} user=postgres password=canary-1",
        "postgresql://postgres:canary-2@127.0.0.1:{port}/",
        "postgresql://postgres@127.0.0.1:{port}/?password=canary-3",
    ],
)
@pytest.mark.parametrize("answers", [True, False])
def test_no_password_is_ever_shown(
    server: PostgresServer, caplog: pytest.LogCaptureFixture, conninfo: str, answers: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = server.port if answers else closed.getsockname()[1]
        if not answers:
            closed.close()
        with exporter_of(nowhere(conninfo.format(port=port))) as url:
            answer = scrape(url)

    assert_is_down(answer)
    logged = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "database does not answer" in logged
    assert "canary" not in logged
    assert "canary" not in answer.text


def test_trouble_is_logged_once_and_its_end_too(
    own_database: TestDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="exporter")
    with exporter_of(described(own_database, DECLARED)) as url:
        scrape(url)
        own_database.server.stop()
        for _ in range(3):
            scrape(url)
        own_database.server.start()
        recovered(url)
        own_database.execute("DROP EXTENSION pg_stat_statements")
        for _ in range(3):
            scrape(url)
        own_database.execute("CREATE EXTENSION pg_stat_statements")
        for _ in range(3):
            scrape(url)

    assert logged(caplog) == [
        ("WARNING", "database does not answer", None),
        ("INFO", "database answers again", None),
        ("WARNING", "collector failed", "statements"),
        ("INFO", "collector works again", "statements"),
    ]


def test_a_server_that_hangs_is_logged_once(
    own_database: TestDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="exporter")
    with exporter_of(described(own_database, DECLARED)) as url:
        scrape(url)
        own_database.server.freeze()
        for _ in range(3):
            scrape(url, patience_seconds=1.5)
        own_database.server.thaw()
        recovered(url)

    assert logged(caplog) == [
        ("WARNING", "database does not answer", None),
        ("INFO", "database answers again", None),
    ]


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str | None]]:
    """Level, message and collector of the lines about databases."""
    return [
        (record.levelname, record.getMessage(), vars(record).get("collector"))
        for record in caplog.records
        if "datname" in vars(record)
    ]


def test_several_targets_are_probed_by_name(database: TestDatabase) -> None:
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_messages_id ON messages (id)")
    up, down = described(database, DECLARED), nowhere("host=127.0.0.1 port=1 user=app")
    targets = [Target("primary", (up,)), Target("replica", (down,))]
    with serving(targets, dataclasses.replace(OPTIONS, telemetry_path="/own")) as url:
        own = scrape(url, path="/own")
        primary = scrape(url, path="/probe?target=primary")
        replica = scrape(url, path="/probe?target=replica")

    assert own.value("pg_index_exporter_build_info") == 1
    assert own.target_up is None
    assert (primary.target_up, replica.target_up) == (1, 0)
    assert primary.value("process_open_fds") is None
