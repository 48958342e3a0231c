"""`init` killed without warning, ended by signals, or run twice at once: the next run finishes."""

import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.test_init import command, environment
from tests.conftest import TestDatabase
from tests.support.builds import indexes_of, waiting_build, writer
from tests.support.proxy import proxy_to
from tests.support.waiting import wait_for

MANIFEST = """
migration: 001_test
indexes:
  - {name: idx_sender, table: messages, columns: [sender_id, created_at DESC], where: deleted_at IS NULL}
  - {name: idx_content, table: messages, columns: [md5(content)], role: statistics}
  - {name: idx_post, table: posts, columns: [sender_id]}
"""
BUILT = {"idx_sender": True, "idx_content": True, "idx_post": True}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two indexes of one table and one of another."""
    path = tmp_path / "001_test.yaml"
    path.write_text(MANIFEST)
    return path


class Tool:
    """`init` runs of a test: each is killed at its end if it still runs; the output is kept."""

    def __init__(self, directory: Path, manifest: Path) -> None:
        self.log = directory / "init.log"
        self._manifest = manifest
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, dsn: str, *options: str) -> subprocess.Popen[bytes]:
        """A run beside the test."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command("init", "--yes", *options, manifest=self._manifest),
                env=environment(dsn),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def finish(self, dsn: str) -> None:
        """Runs it to a good end."""
        assert self.start(dsn).wait(timeout=120) == 0, self.output

    @property
    def output(self) -> str:
        """What all runs printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """Kills what still runs."""
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def tool(tmp_path: Path, manifest: Path) -> Iterator[Tool]:
    """Starts `init`."""
    tool = Tool(tmp_path, manifest)
    yield tool
    tool.close()


@contextmanager
def concurrent_writer(database: TestDatabase) -> Iterator[None]:
    """Writes to both tables all the time; leaving the block fails where a write failed."""
    done = threading.Event()
    failures: list[psycopg.Error] = []
    written = 0

    def write() -> None:
        nonlocal written
        with database.connect() as connection:
            connection.execute("SET lock_timeout = '30s'")
            while not done.is_set() and not failures:
                try:
                    connection.execute("UPDATE messages SET status = 'read' WHERE id = %s", [written % 1000])
                    connection.execute("INSERT INTO posts SELECT * FROM messages WHERE id = 1")
                except psycopg.Error as error:
                    failures.append(error)
                written += 1
                done.wait(0.01)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert failures == []
    assert written


def assert_built_and_explained(database: TestDatabase) -> None:
    """Exactly the declared indexes stand, and the journal tells of each how it came to be."""
    assert indexes_of(database) == BUILT
    latest = database.execute(
        "SELECT index_name, phase, status FROM migration_log WHERE index_name IS NOT NULL ORDER BY 1"
    )
    assert latest == [(name, "done", "done") for name in sorted(BUILT)]
    # The intent before, the catalogue's word after: whatever stands was begun by a run on record.
    explained = database.execute(
        """
        SELECT count(DISTINCT index_name) FROM migration_events e
        WHERE phase = 'catalog_ok' AND EXISTS (
            SELECT FROM migration_events i
            WHERE i.index_name = e.index_name AND i.phase = 'building' AND i.id < e.id
        )
        """
    )
    assert explained == [(len(BUILT),)]


def kill_after(database: TestDatabase, tool: Tool, questions: int) -> None:
    """Kills `init` before its question of that number, and the next run finishes."""
    with proxy_to(database.server.port) as proxy, concurrent_writer(database):
        dsn = proxy.conninfo(database.dsn).get_secret_value()
        killed = threading.Event()

        def kill() -> None:
            killed.set()
            process.kill()

        proxy.act_after(questions, kill)
        process = tool.start(dsn)
        process.wait(timeout=120)
        assert killed.is_set() == (process.returncode == -signal.SIGKILL), tool.output
        tool.finish(dsn)
    assert_built_and_explained(database)


@pytest.mark.parametrize("seed", range(2))
def test_a_run_that_is_killed_at_a_random_moment_is_finished_by_the_next(
    shop: TestDatabase, tool: Tool, seed: int
) -> None:
    kill_after(shop, tool, random.Random(seed).randrange(20, 160))


@pytest.mark.long
@pytest.mark.parametrize("question", range(0, 220, 3))
def test_a_run_that_is_killed_at_any_moment_is_finished_by_the_next(
    shop: TestDatabase, tool: Tool, question: int
) -> None:
    kill_after(shop, tool, question)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_runs_that_are_killed_again_and_again_end_as_declared(
    shop: TestDatabase, tool: Tool, seed: int
) -> None:
    moments = random.Random(seed)
    with proxy_to(shop.server.port) as proxy, concurrent_writer(shop):
        dsn = proxy.conninfo(shop.dsn).get_secret_value()
        for _ in range(8):
            process = tool.start(dsn)
            proxy.act_after(moments.randrange(10, 160), process.kill)
            process.wait(timeout=120)
        proxy.act_after(10**9, lambda: None)
        tool.finish(dsn)
    assert_built_and_explained(shop)


HOLDS = {
    "its lock on the table": ("LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE", ""),
    "writers before the build": ("DELETE FROM messages WHERE false", "waiting for writers before build"),
    "old snapshots": ("SELECT count(*) FROM posts", "waiting for old snapshots"),
}


@pytest.mark.parametrize("hold", HOLDS)
def test_a_run_that_is_killed_while_it_waits_is_followed(shop: TestDatabase, tool: Tool, hold: str) -> None:
    statement, phase = HOLDS[hold]
    with shop.connect() as holder:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute(statement)
        first = tool.start(shop.dsn)
        pid = wait_for(f"a build that waits for {hold}", lambda: waiting_in(shop, phase))
        first.kill()
        first.wait()
        second = tool.start(shop.dsn)
        wait_for("the next run's word of it", lambda: f"pid {pid}" in tool.output or None)
        holder.execute("ROLLBACK")
        assert second.wait(timeout=120) == 0, tool.output

    assert_built_and_explained(shop)


def waiting_in(database: TestDatabase, phase: str) -> int | None:
    """The process of a build of this tool that waits for a lock, in that phase where it has come to one."""
    rows = database.execute(
        """
        SELECT a.pid
        FROM pg_stat_activity a
        LEFT JOIN pg_stat_progress_create_index p ON p.pid = a.pid
        WHERE a.datname = current_database() AND a.query LIKE 'CREATE INDEX CONCURRENTLY%%'
            AND a.wait_event_type = 'Lock' AND coalesce(p.phase, '') = %s
        """,
        [phase],
    )
    return rows[0][0] if rows else None


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_the_server_to_its_work_for_the_next_to_follow(
    shop: TestDatabase, tool: Tool, ending: signal.Signals
) -> None:
    with writer(shop) as open_transaction:
        first = tool.start(shop.dsn)
        pid = waiting_build(shop)
        first.send_signal(ending)
        assert first.wait(timeout=60) == 4, tool.output
        assert "the server goes on with it" in " ".join(tool.output.split())
        second = tool.start(shop.dsn)
        wait_for("the following", lambda: f"following the build by pid {pid}" in tool.output or None)
        open_transaction.execute("ROLLBACK")
        assert second.wait(timeout=120) == 0, tool.output

    assert_built_and_explained(shop)


def test_sigterm_cancels_and_cleans_up_where_it_is_told_to(shop: TestDatabase, tool: Tool) -> None:
    with writer(shop) as open_transaction:
        run = tool.start(shop.dsn, "--cancel-on-term")
        waiting_build(shop)
        run.send_signal(signal.SIGTERM)
        wait_for("the cancel", lambda: "cancelling and cleaning up" in tool.output or None)
        wait_for("its end", lambda: None if waiting_in(shop, "waiting for writers before build") else True)
        open_transaction.execute("ROLLBACK")
        assert run.wait(timeout=120) == 1, tool.output

    assert False not in indexes_of(shop).values()
    assert "idx_sender" not in indexes_of(shop)


def test_two_runs_at_once_both_succeed_and_build_once(shop: TestDatabase, tool: Tool) -> None:
    with shop.connect() as holder:
        # Neither can begin before both have come.
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE")
        runs = [tool.start(shop.dsn), tool.start(shop.dsn)]
        wait_for("the second's word of the first", lambda: "another run works" in tool.output or None)
        holder.execute("ROLLBACK")
        assert [run.wait(timeout=120) for run in runs] == [0, 0], tool.output

    assert indexes_of(shop) == BUILT
    begun = shop.execute(
        "SELECT index_name, count(*) FROM migration_events WHERE phase = 'building' GROUP BY 1 ORDER BY 1"
    )
    assert begun == [(name, 1) for name in sorted(BUILT)]
