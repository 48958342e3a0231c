"""Too little of something: connections, descriptors, a connection that breaks, a clock that steps."""

import dataclasses
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from exporter.catalogue.metrics import COLLECTORS
from tests.conftest import OwnServer, TestDatabase
from tests.faults.scraping import scrape
from tests.faults.serving import serve
from tests.faults.test_database_faults import DECLARED, assert_is_down, assert_is_up, exporter_of, recovered
from tests.faults.test_process import STOP_SECONDS
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


# What asks in a second round trip, and what comes after everything else.
SECOND = ("statements", "sizes", "definitions")


@pytest.mark.parametrize("is_pipelined", [True, False], ids=["together", "one by one"])
def test_a_connection_cut_in_mid_query(
    declared_database: TestDatabase, monkeypatch: pytest.MonkeyPatch, is_pipelined: bool
) -> None:
    """At every question of a scrape in turn: what was answered before it is there, the rest is a gap."""
    monkeypatch.setattr(psycopg.Pipeline, "is_supported", lambda: is_pipelined)
    scans = "pg_stat_user_indexes_idx_scan_total"
    with proxy_to(declared_database.server.port) as proxy:
        given = described(declared_database, DECLARED)
        through = dataclasses.replace(given, conninfo=proxy.conninfo(declared_database.dsn))
        with exporter_of(through) as url:
            # All but the first; the last two do not ask in every scrape.
            not_cut_yet = {"statements"} if is_pipelined else set(COLLECTORS[1:-2]) - {"locks"}
            question = 0
            while not_cut_yet:
                settle(url)
                before = proxy.cuts
                proxy.cut_after(question)
                during = scrape(url)
                question += 1
                if proxy.cuts == before:
                    # It had no further question. One that meets new statements has more: once again.
                    proxy.cut_no_more()
                    question = 0
                    continue

                assert during.status_code == 200
                assert during.value("pg_index_declared", indexname=DECLARED.name) == 1
                # A connection that died since the last scrape is replaced, as nothing was read from it.
                assert (during.target_up == 1) == (during.failed == set())
                assert (during.value(scans) is None) == ("indexes" in during.failed)
                assert (during.value("pg_index_size_bytes") is None) == ("sizes" in during.failed)
                told = [name for name in COLLECTORS if name in during.failed]
                rest = COLLECTORS[len(COLLECTORS) - len(told) :]
                assert tuple(told) in ((), SECOND, SECOND[1:], *(() if is_pipelined else (rest,)))
                not_cut_yet -= set(told[:1])
                assert_is_up(recovered(url))


def settle(url: str) -> None:
    """Scrapes until the statements are prepared: from then on each is one question."""
    for _ in range(3):
        assert scrape(url).failed == set()


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


def test_no_descriptor_is_left_for_the_database(declared_database: TestDatabase, tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ("--watch", "all", "--log.level", "debug")
    with serve(declared_database.dsn, log, *arguments) as (process, url):
        occupied = max(int(entry.name) for entry in Path(f"/proc/{process.pid}/fd").iterdir()) + 1
        before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        # From no descriptor to spare but the scraper's up to just enough for a connection.
        answers = []
        for spare in range(1, 6):
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (occupied + spare, before[1]))
            answers.append(scrape(url))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        after = recovered(url)

    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert answers[0].target_up == 0
    assert answers[0].value("pg_index_exporter_database_up") == 0
    assert answers[0].failed == set(COLLECTORS)
    assert after.failed == set()
    said = log.read_text()
    assert "Traceback" not in said
    assert "unexpectedly" not in said
    assert said.count('msg="database does not answer"') == 1
    assert "Too many open files" in said, said


READ_ONLY = """
while read -r _ path _; do
  mount -o remount,bind,ro "$path" 2>/dev/null
done < /proc/self/mounts
for path in / "$1" /tmp /dev/shm "$HOME"; do
  if touch "$path/.written" 2>/dev/null; then echo "$path can be written to" >&2; exit 99; fi
done
shift
exec "$@"
"""


def read_only(folder: Path) -> list[str]:
    """What a command begins with to run where nothing can be written to; skips where that is not allowed."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare to make a read-only file system with")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    prefix = ["unshare", "--mount", *user, "sh", "-c", READ_ONLY, "read-only", str(folder)]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"a read-only file system cannot be made here: {tried.stderr.strip()}")
    return prefix


def test_a_read_only_file_system(declared_database: TestDatabase, tmp_path: Path) -> None:
    log = tmp_path / "log"
    prefix = read_only(tmp_path)
    with serve(declared_database.dsn, log, "--watch", "all", prefix=prefix) as (process, url):
        answers = [scrape(url) for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0

    assert [(answer.target_up, answer.failed) for answer in answers] == [(1, set())] * 3
    said = log.read_text()
    assert "msg=stopping" in said
    assert "Traceback" not in said
    assert "Read-only" not in said


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
