"""Too little of something: connections, descriptors, a connection that breaks, a clock that steps."""

import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from exporter.model import Database, Manifest
from tests.conftest import OwnServer, TestDatabase
from tests.faults.scraping import scrape
from tests.faults.test_database_faults import DECLARED, assert_is_down, assert_is_up, exporter_of, recovered
from tests.faults.test_process import serve
from tests.postgres.metrics.collecting import described
from tests.support.proxy import proxy_to

OURS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'pg-index-exporter'"


@pytest.fixture
def declared_database(database: TestDatabase) -> TestDatabase:
    """A database with the declared index."""
    database.execute("CREATE EXTENSION pg_stat_statements")
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_messages_id ON messages (id)")
    return database


def test_a_connection_cut_in_mid_query(declared_database: TestDatabase) -> None:
    with proxy_to(declared_database.server.port) as proxy:
        conninfo = psycopg.conninfo.make_conninfo(declared_database.dsn, port=proxy.port)
        manifest = Manifest("m.yaml", "090_test", ("public",), (), (DECLARED,))
        through = Database(declared_database.name, SecretStr(conninfo), (manifest,))
        with exporter_of(through) as url:
            assert_is_up(scrape(url))

            proxy.cut_at_next_question()
            during = scrape(url)

            assert proxy.cuts == 1
            assert during.status_code == 200
            assert during.value("pg_index_declared", indexname="idx_messages_id") == 1
            assert_is_up(recovered(url))


def test_no_connection_is_left(own_server: OwnServer) -> None:
    server = own_server(settings={"max_connections": "12"})
    server.execute("CREATE EXTENSION pg_stat_statements")
    server.execute("CREATE TABLE messages (id int)")
    server.execute("CREATE INDEX idx_messages_id ON messages (id)")
    server.execute("CREATE ROLE watcher LOGIN PASSWORD 'watching' IN ROLE pg_monitor")
    database = TestDatabase(server, "postgres")
    with ExitStack() as others:
        refused = None
        while refused is None:
            try:
                others.enter_context(server.connect("postgres", "watcher", "watching"))
            except psycopg.OperationalError as error:
                refused = error
        assert "connection slots" in str(refused)

        with exporter_of(described(database, DECLARED, user="watcher", password="watching")) as url:
            assert_is_down(scrape(url))
            others.close()
            assert recovered(url).target_up == 1


def test_no_room_for_another_statement(own_server: OwnServer) -> None:
    server = own_server(settings={"pg_stat_statements.max": "100"})
    server.execute("CREATE EXTENSION pg_stat_statements")
    server.execute("CREATE TABLE messages (id int)")
    server.execute("CREATE INDEX idx_messages_id ON messages (id)")
    with exporter_of(described(TestDatabase(server, "postgres"), DECLARED)) as url:
        before = scrape(url).value("pg_stat_statements_dealloc_total")
        with server.connect("postgres") as connection:
            for number in range(150):
                # Constants are normalised; one addition more is another statement.
                connection.execute(f"SELECT id{' + 1' * number} FROM messages")

        answer = scrape(url)

        after = answer.value("pg_stat_statements_dealloc_total")
        assert_is_up(answer)
        assert answer.value("pg_index_exporter_collector_success", collector="statements") == 1
        assert before is not None
        assert after is not None
        assert after > before


def test_no_descriptor_is_left(declared_database: TestDatabase, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serve(declared_database.dsn, log, "--watch", "all") as (process, url):
        assert scrape(url).target_up == 1
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (40, 40))
        port = int(url.rpartition(":")[2])
        with ExitStack() as idle:
            for _ in range(60):
                idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        # The connection to the database was open before, and the clients are gone again.
        assert scrape(url).target_up == 1
        assert process.poll() is None
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("step_seconds", [-86_400, 86_400])
def test_a_clock_that_steps(
    declared_database: TestDatabase, monkeypatch: pytest.MonkeyPatch, step_seconds: int
) -> None:
    last = "pg_index_exporter_collector_last_success_timestamp_seconds"
    with proxy_to(declared_database.server.port) as proxy:
        given = described(declared_database, DECLARED)
        through = dataclasses.replace(given, conninfo=proxy.conninfo(declared_database.dsn))
        with exporter_of(through) as url:
            assert_is_up(scrape(url))
            real = time.time
            monkeypatch.setattr(time, "time", lambda: real() + step_seconds)
            before = time.time()
            for _ in range(3):
                answer = scrape(url)
                assert_is_up(answer)
                duration = answer.value("pg_index_exporter_scrape_duration_seconds")
                assert duration is not None
                assert 0 <= duration < 3600
            # The clock's moment, which is the one thing that it is asked for.
            succeeded_at = answer.value(last, collector="sizes")
            assert succeeded_at is not None
            assert before <= succeeded_at <= time.time()

            proxy.swallow()
            proxy.cut_after(0)
            assert_is_down(scrape(url, patience_seconds=1))
            # The pause until the next attempt is none of the clock's business.
            monkeypatch.setattr(time, "time", lambda: real() - step_seconds)
            proxy.pass_on()
            assert_is_up(recovered(url))


def resources(process: Path) -> tuple[int, int, int]:
    """Open descriptors, threads and resident kilobytes of a process under /proc."""
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    descriptors = len(list((process / "fd").iterdir()))
    return descriptors, int(status["Threads"]), int(status["VmRSS"].split()[0])


@pytest.mark.parametrize(
    "scrapes", [200, pytest.param(3600, marks=[pytest.mark.long, pytest.mark.timeout(7200)])]
)
def test_scrape_after_scrape_nothing_grows(
    declared_database: TestDatabase, tmp_path: Path, scrapes: int
) -> None:
    with serve(declared_database.dsn, tmp_path / "log", "--watch", "all") as (process, url):
        observed = Path(f"/proc/{process.pid}")
        for _ in range(50):
            scrape(url)
        descriptors, threads, memory_kilobytes = resources(observed)
        for _ in range(scrapes):
            assert scrape(url).target_up == 1
            if scrapes > 1000:
                time.sleep(1)

        descriptors_after, threads_after, memory_kilobytes_after = resources(observed)
        assert descriptors_after <= descriptors + 2
        assert threads_after <= threads + 2
        # An allocator may take a little more; a leak of a page a scrape would be far beyond.
        assert memory_kilobytes_after - memory_kilobytes < 8 * 1024
        assert declared_database.execute(OURS, [declared_database.name]) == [(1,)]
