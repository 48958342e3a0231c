"""`init` and `rollback` killed in each of their phases, one by one; the next run finishes.

No phase is hit by chance: real locks hold the server where a test wants it, or the tool is killed before a
statement of its own reaches the server.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest
from psycopg import sql

from tests.conftest import TestDatabase
from tests.faults.migrate.programs import BUILT, Tool, assert_built_and_explained
from tests.support.builds import indexes_of, reader, waiting_drop, writer
from tests.support.gates import (
    COLUMN,
    LOADING,
    SCANNING,
    SORTING,
    VALIDATING,
    WRITERS_AGAIN,
    closed_gate,
    make_gates,
    wait_for_phase,
)
from tests.support.proxy import Proxy, proxy_to
from tests.support.waiting import wait_for
from tests.support.writers import writing

GATED = f"""
migration: 001_test
indexes:
  - {{name: idx_gated, table: messages, columns: [{COLUMN}], role: statistics}}
  - {{name: idx_post, table: posts, columns: [sender_id]}}
"""
GATED_BUILT = {"idx_gated": True, "idx_post": True}
PARTITIONED = """
migration: 001_test
indexes:
  - {name: idx_events, table: events, columns: [sender_id], role: statistics}
"""
LEAVES = ("events_2024", "events_2025")
PARTITIONED_BUILT = {"idx_events": True, "idx_events_events_2024": True, "idx_events_events_2025": True}
PROBED = """
migration: 001_test
indexes:
  - name: idx_sender
    table: messages
    columns: [sender_id]
    probes:
      - {sql: SELECT id FROM messages WHERE sender_id = %(sender_id)s, sample: SELECT 3 AS sender_id}
"""


# The phases of the server's own work


@pytest.fixture
def gated(shop: TestDatabase, manifest: Path) -> TestDatabase:
    """A database whose first index is gated."""
    make_gates(shop)
    manifest.write_text(GATED)
    return shop


def kill(process: Popen[bytes]) -> None:
    process.kill()
    process.wait()


@contextmanager
def held_in(database: TestDatabase, tool: Tool, phase: str) -> Iterator[tuple[Popen[bytes], int]]:
    """A run of `init` and its build, which waits in that phase until the block is left."""
    with ExitStack() as held:
        if phase in (SCANNING, SORTING, LOADING):
            held.enter_context(closed_gate(database, phase))
            process = tool.start(database.dsn)
        else:
            with closed_gate(database, SCANNING):
                process = tool.start(database.dsn)
                wait_for_phase(database, SCANNING)
                if phase == WRITERS_AGAIN:
                    held.enter_context(writer(database))
                else:
                    held.enter_context(closed_gate(database, phase))
                    # Of a row that the first scan did not see the second makes an entry.
                    database.execute("INSERT INTO messages (id, sender_id) VALUES (1001, 1)")
        yield process, wait_for_phase(database, phase)


@pytest.mark.parametrize("phase", [SCANNING, SORTING, LOADING, WRITERS_AGAIN, VALIDATING])
def test_a_run_that_is_killed_while_the_server_builds_is_followed(
    gated: TestDatabase, tool: Tool, phase: str
) -> None:
    with held_in(gated, tool, phase) as (first, pid):
        kill(first)
        second = tool.start(gated.dsn)
        tool.wait_for_word(f"following the build by pid {pid}")
    assert second.wait(timeout=120) == 0, tool.output

    assert_built_and_explained(gated, GATED_BUILT)


def test_a_run_that_is_killed_while_it_cleans_up_is_followed(gated: TestDatabase, tool: Tool) -> None:
    with reader(gated) as open_transaction:
        with held_in(gated, tool, SCANNING) as (first, pid):
            gated.execute("SELECT pg_cancel_backend(%s)", [pid])
            drop = waiting_drop(gated)
            kill(first)
        second = tool.start(gated.dsn)
        tool.wait_for_word(f"pid {drop}")
        open_transaction.execute("ROLLBACK")
        assert second.wait(timeout=120) == 0, tool.output

    assert_built_and_explained(gated, GATED_BUILT)


# Between statements


@dataclass(frozen=True, slots=True)
class Wire:
    """Runs of the tool by way of a proxy, on which a statement may kill them."""

    database: TestDatabase
    tool: Tool
    proxy: Proxy

    @property
    def dsn(self) -> str:
        """The conninfo by way of the proxy."""
        return self.proxy.conninfo(self.database.dsn).get_secret_value()

    def kill_before(self, *texts: str, name: str = "init") -> None:
        """Runs it and kills it before its statement with the last text, after one with each of the others."""
        processes: list[Popen[bytes]] = []
        self._on_the_way(texts, lambda: processes[0].kill(), passes_on=False)
        processes.append(self.tool.start(self.dsn, name=name))
        assert processes[0].wait(timeout=120) == -signal.SIGKILL, self.tool.output

    def start_and_hold(self, *texts: str, by: Callable[[], None]) -> Popen[bytes]:
        """A run of `init`; `by` is called before its statement with the last text, as for `kill_before`."""
        self._on_the_way(texts, by, passes_on=True)
        return self.tool.start(self.dsn)

    def _on_the_way(self, texts: Sequence[str], act: Callable[[], None], *, passes_on: bool) -> None:
        first, *rest = texts
        if rest:
            self.proxy.act_before(
                first, lambda: self._on_the_way(rest, act, passes_on=passes_on), passes_on=True
            )
        else:
            self.proxy.act_before(first, act, passes_on=passes_on)


@pytest.fixture
def wire(shop: TestDatabase, tool: Tool) -> Iterator[Wire]:
    """Runs of the tool by way of a proxy."""
    with proxy_to(shop.server.port) as proxy:
        yield Wire(shop, tool, proxy)


def wait_for_waiting(database: TestDatabase, text: str) -> int:
    """The process of a session of this tool that waits for a lock with that statement."""

    def look() -> int | None:
        rows = database.execute(
            """
            SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE %s
                AND application_name LIKE 'pg-index-exporter%%'
            """,
            [text + "%"],
        )
        return rows[0][0] if rows else None

    return wait_for(f"{text} that waits", look)


def test_a_run_that_is_killed_before_its_first_statement_that_builds_is_finished(wire: Wire) -> None:
    wire.kill_before("CREATE INDEX CONCURRENTLY")
    wire.tool.finish(wire.dsn)

    assert_built_and_explained(wire.database)


def test_a_run_that_is_killed_between_drop_and_rebuild_is_finished(gated: TestDatabase, wire: Wire) -> None:
    with held_in(gated, wire.tool, SCANNING) as (first, pid):
        kill(first)
        gated.execute("SELECT pg_terminate_backend(%s)", [pid])
        wait_for("the INVALID index", lambda: indexes_of(gated).get("idx_gated") is False or None)
    wire.kill_before("DROP INDEX CONCURRENTLY", 'CREATE INDEX CONCURRENTLY "idx_gated"')
    assert "idx_gated" not in indexes_of(gated)
    wire.tool.finish(wire.dsn)

    assert_built_and_explained(gated, GATED_BUILT)


def test_a_run_that_is_killed_while_it_analyzes_is_finished(wire: Wire) -> None:
    with wire.database.connect() as holder:

        def lock() -> None:
            holder.execute("BEGIN")
            holder.execute("LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE")

        process = wire.start_and_hold('ANALYZE "public"."messages"', by=lock)
        wait_for_waiting(wire.database, 'ANALYZE "public"."messages"')
        kill(process)
        holder.execute("ROLLBACK")
    wire.tool.finish(wire.dsn)

    assert_built_and_explained(wire.database)


def test_a_run_that_is_killed_while_it_verifies_is_finished(wire: Wire) -> None:
    wire.tool.manifest.write_text(PROBED)
    with wire.database.connect() as holder:

        def lock() -> None:
            holder.execute("BEGIN")
            holder.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")

        process = wire.start_and_hold('ANALYZE "public"."messages"', "EXPLAIN", by=lock)
        wait_for_waiting(wire.database, "EXPLAIN")
        kill(process)
        holder.execute("ROLLBACK")
    wire.tool.finish(wire.dsn)

    assert_built_and_explained(wire.database, {"idx_sender": True})


def test_a_run_that_is_killed_before_its_last_word_is_finished(wire: Wire) -> None:
    with writing(wire.database) as writers:
        wire.kill_before('ANALYZE "public"."posts"', "findings_failed")
        wire.tool.finish(wire.dsn)

    assert writers.waits() == []
    assert_built_and_explained(wire.database)


# Partitioned tables


@pytest.fixture
def events(wire: Wire) -> Wire:
    """Runs on a partitioned table with two leaves."""
    wire.tool.manifest.write_text(PARTITIONED)
    wire.database.execute("CREATE TABLE events (id int, sender_id int, at date) PARTITION BY RANGE (at)")
    for leaf, year in zip(LEAVES, (2024, 2025), strict=True):
        wire.database.execute(
            sql.SQL("CREATE TABLE {} PARTITION OF events FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier(leaf), sql.Literal(f"{year}-01-01"), sql.Literal(f"{year + 1}-01-01")
            )
        )
    wire.database.execute(
        "INSERT INTO events SELECT g, g % 10, date '2024-01-01' + g % 700 FROM generate_series(1, 1000) g"
    )
    wire.database.execute("ANALYZE")
    return wire


def assert_whole(wire: Wire) -> None:
    """The index of the whole is valid, with one of each leaf attached, and all are on record."""
    assert indexes_of(wire.database) == PARTITIONED_BUILT
    latest = wire.database.execute(
        "SELECT index_name, phase, status FROM migration_log ORDER BY 1 NULLS LAST"
    )
    leaves = [(name, "attached", "done") for name in sorted(PARTITIONED_BUILT)[1:]]
    assert latest == [("idx_events", "done", "done"), *leaves, (None, "done", "done")]
    attached = wire.database.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'idx_events'::regclass"
    )
    assert attached == [(len(LEAVES),)]


def test_a_run_that_is_killed_while_the_index_of_the_whole_waits_is_finished(events: Wire) -> None:
    with writer(events.database, "events"):
        process = events.tool.start(events.dsn)
        wait_for_waiting(events.database, "CREATE INDEX")
        kill(process)
    events.tool.finish(events.dsn)

    assert_whole(events)


def test_a_run_that_is_killed_between_the_whole_and_its_first_leaf_is_finished(events: Wire) -> None:
    events.kill_before("CREATE INDEX CONCURRENTLY")
    assert indexes_of(events.database) == {"idx_events": False}
    events.tool.finish(events.dsn)

    assert_whole(events)


def test_a_run_that_is_killed_between_two_attachments_is_finished(events: Wire) -> None:
    events.kill_before("ATTACH PARTITION", "ATTACH PARTITION")
    assert indexes_of(events.database) == PARTITIONED_BUILT | {"idx_events": False}
    events.tool.finish(events.dsn)

    assert_whole(events)


def test_a_run_that_is_killed_while_it_attaches_is_finished(events: Wire) -> None:
    with events.database.connect() as holder:

        def read() -> None:
            # A plan locks every index of its tables.
            holder.execute("BEGIN")
            holder.execute("SELECT count(*) FROM events WHERE sender_id = 3")

        process = events.start_and_hold("ATTACH PARTITION", by=read)
        wait_for_waiting(events.database, "ALTER INDEX")
        kill(process)
        holder.execute("ROLLBACK")
    events.tool.finish(events.dsn)

    assert_whole(events)


def test_what_stood_before_and_a_killed_run_attached_is_not_dropped(events: Wire) -> None:
    events.database.execute("CREATE INDEX theirs ON events_2024 (sender_id)")
    with reader(events.database, "events_2024"):
        process = events.tool.start(events.dsn)
        wait_for_waiting(events.database, "ALTER INDEX")
        kill(process)
    wait_for("the end of its session", lambda: sessions_of_the_tool(events.database) == 0 or None)
    events.tool.finish(events.dsn)
    assert events.tool.start(events.dsn, name="rollback").wait(timeout=120) == 4

    assert "theirs" in events.tool.output
    assert indexes_of(events.database) == {"idx_events": True, "theirs": True, "idx_events_events_2025": True}


def sessions_of_the_tool(database: TestDatabase) -> int:
    """How many sessions the tool has in the database."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE %s"
    [(count,)] = database.execute(query, [database.name, "pg-index-exporter%"])
    return int(count)


# Rollback


def assert_gone_and_explained(database: TestDatabase, *names: str) -> None:
    """None of the indexes stands, and the journal's last word of each is that it was dropped."""
    assert indexes_of(database) == {}
    latest = database.execute(
        "SELECT index_name, phase, status FROM migration_log WHERE index_name IS NOT NULL ORDER BY 1"
    )
    assert latest == [(name, "dropped", "done") for name in sorted(names)]
    assert database.execute("SELECT phase, status FROM migration_log WHERE index_name IS NULL") == [
        ("dropped", "done")
    ]


def test_a_rollback_that_is_killed_before_its_first_drop_is_finished(wire: Wire) -> None:
    wire.tool.finish(wire.dsn)
    wire.kill_before("DROP INDEX CONCURRENTLY", name="rollback")
    assert False not in indexes_of(wire.database).values()
    wire.tool.finish(wire.dsn, name="rollback")

    assert_gone_and_explained(wire.database, *BUILT)


def test_a_rollback_that_is_killed_while_its_drop_waits_is_followed(wire: Wire) -> None:
    wire.tool.finish(wire.dsn)
    with reader(wire.database) as open_transaction:
        process = wire.tool.start(wire.dsn, name="rollback")
        pid = waiting_drop(wire.database)
        kill(process)
        following = wire.tool.start(wire.dsn, name="rollback")
        wire.tool.wait_for_word(f"pid {pid}")
        open_transaction.execute("ROLLBACK")
        assert following.wait(timeout=120) == 0, wire.tool.output

    assert_gone_and_explained(wire.database, *BUILT)


@pytest.mark.parametrize("text", ["dropped", "ANALYZE"])
def test_a_rollback_that_is_killed_after_a_drop_is_finished(wire: Wire, text: str) -> None:
    wire.tool.finish(wire.dsn)
    wire.kill_before("DROP INDEX CONCURRENTLY", text, name="rollback")
    assert indexes_of(wire.database).items() < BUILT.items()
    wire.tool.finish(wire.dsn, name="rollback")

    assert_gone_and_explained(wire.database, *BUILT)


def test_a_rollback_that_is_killed_before_its_last_word_is_finished(wire: Wire) -> None:
    wire.tool.manifest.write_text(PROBED)
    wire.tool.finish(wire.dsn)
    wire.kill_before("DROP INDEX CONCURRENTLY", "ANALYZE", '"messages": []', name="rollback")
    wire.tool.finish(wire.dsn, name="rollback")

    assert_gone_and_explained(wire.database, "idx_sender")


def test_a_rollback_of_a_partitioned_index_that_is_killed_while_it_waits_is_finished(events: Wire) -> None:
    events.tool.finish(events.dsn)
    with reader(events.database, "events"):
        process = events.tool.start(events.dsn, name="rollback")
        wait_for_waiting(events.database, "DROP INDEX")
        kill(process)
    events.tool.finish(events.dsn, name="rollback")

    assert_gone_and_explained(events.database, *PARTITIONED_BUILT)


def test_a_rollback_of_a_partitioned_index_that_is_killed_after_it_is_finished(events: Wire) -> None:
    events.tool.finish(events.dsn)
    events.kill_before("DROP INDEX", "dropped", name="rollback")
    assert indexes_of(events.database) == {}
    events.tool.finish(events.dsn, name="rollback")

    assert_gone_and_explained(events.database, *PARTITIONED_BUILT)
