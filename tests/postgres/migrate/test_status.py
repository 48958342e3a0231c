"""Where indexes stand, asked of a real server by who may and who may not, while others work."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from exporter.migrate.options import RunOptions
from exporter.migrate.report import status_as_text, status_exit_code
from exporter.migrate.status import IndexStatus, IndexUsage, Status, read_status
from exporter.model import IndexState, Manifest
from exporter.postgres.journal import EventStatus, Phase
from exporter.postgres.sessions.locks import acquire_table_lock
from tests.conftest import OwnServer, TestDatabase
from tests.postgres.migrate.running import Run
from tests.support.builds import as_declared, held_build, journal_of, look_at
from tests.support.declared import declare, manifest_of
from tests.support.roles import PASSWORD, make_role
from tests.support.waiting import wait_for

INDEX = declare("idx_sender", "messages", "sender_id")
MANIFEST = manifest_of(INDEX)
CONCURRENTLY = "CREATE INDEX CONCURRENTLY idx_sender ON messages (sender_id)"


def status_of(
    database: TestDatabase, manifest: Manifest = MANIFEST, user: str | None = None
) -> tuple[Status, IndexStatus]:
    declared = as_declared(database, user, PASSWORD if user else None)
    status = read_status(declared, manifest, RunOptions())
    (index,) = status.indexes
    return status, index


def relations(database: TestDatabase) -> list[tuple[object, ...]]:
    return database.execute("SELECT oid, xmin::text, relfilenode FROM pg_class ORDER BY oid")


@pytest.fixture
def monitor(shop: TestDatabase) -> Iterator[str]:
    """The monitor role of deploy/sql, which may read messages and write nothing."""
    name = f"{shop.name}_monitor"
    assert make_role(shop, "monitor.sql", name, "{messages}") == ""
    yield name
    shop.server.drop_database(shop.name)
    shop.server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_before_anything_there_is_no_journal_and_none_is_made(shop: TestDatabase) -> None:
    before = relations(shop)

    status, index = status_of(shop)

    assert (index.observed.state, index.compared_with) == (IndexState.ABSENT, "declaration")
    assert (status.no_journal, status_exit_code(status)) == ("there is none in schema public", 1)
    assert relations(shop) == before


def test_the_monitor_role_sees_a_build_with_everything_about_it(shop: TestDatabase, monitor: str) -> None:
    with journal_of(shop, run="0f3a9c1d") as journal:
        journal.append(Phase.BUILDING, EventStatus.IN_PROGRESS, index_name="idx_sender")
    with held_build(shop, CONCURRENTLY, "pg-index-exporter/0f3a9c1d/idx_sender") as pid:
        status, index = status_of(shop, user=monitor)

    assert (index.observed.state, index.run) == (IndexState.BUILDING_OURS, "0f3a9c1d")
    assert index.progress is not None
    assert index.progress.pid == pid
    assert index.progress.phase == "waiting for writers before build"
    assert index.progress.share is not None
    assert [blocker.application_name for blocker in index.progress.blockers] == ["a writer"]
    assert index.since is not None
    assert index.log is not None
    assert (index.log.phase, index.log.status) == ("building", "in_progress")
    assert status_exit_code(status) == 4
    assert "waits for pid" in status_as_text(status)


def test_a_run_that_waits_before_it_begins_is_seen_to_live(shop: TestDatabase, monitor: str) -> None:
    with journal_of(shop, run="0f3a9c1d") as journal:
        journal.append(Phase.QUIESCED, EventStatus.IN_PROGRESS, index_name="idx_sender")
    [(relid,)] = shop.execute("SELECT 'messages'::regclass::oid::int")
    with shop.connect() as connection:
        connection.execute("SET application_name = 'pg-index-exporter/0f3a9c1d/idx_sender'")
        assert acquire_table_lock(connection, relid, budget_seconds=1)
        held, index = status_of(shop, user=monitor)
    wait_for("the end of the run", lambda: status_of(shop)[1].holder is None or None)
    dead, _ = status_of(shop, user=monitor)

    assert (index.observed.state, index.holder is not None) == (IndexState.ABSENT, True)
    assert "run 0f3a9c1d is working on its table" in status_as_text(held)
    assert "was killed" not in status_as_text(held)
    assert "run 0f3a9c1d was killed before it finished" in status_as_text(dead)


def test_the_monitor_role_compares_what_stands(shop: TestDatabase, monitor: str) -> None:
    Run(shop, MANIFEST).init()

    status, index = status_of(shop, user=monitor)

    assert (index.observed.state, index.compared_with) == (IndexState.PRESENT, "declaration")
    assert (status.no_journal, status_exit_code(status)) == (None, 0)


@pytest.mark.parametrize("is_monitor", [False, True])
def test_scans_count_from_the_build_and_the_size_is_the_servers(
    shop: TestDatabase, monitor: str, is_monitor: bool
) -> None:
    Run(shop, MANIFEST).init()
    user = monitor if is_monitor else None
    _, unused = status_of(shop, user=user)
    with shop.connect() as connection:
        connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        connection.execute("SELECT id FROM messages WHERE sender_id = 3")
    used = wait_for("the scan", lambda: next(_scanned(shop, user), None))
    [(size,)] = shop.execute("SELECT pg_relation_size('idx_sender')")

    assert unused.usage is not None
    assert (unused.usage.idx_scan, unused.usage.size_bytes) == (0, size)
    assert unused.usage.last_idx_scan is None
    assert unused.usage.created_at is not None
    assert unused.usage.since == used.since
    assert (used.last_idx_scan is not None) is (shop.server.version_num >= 160000)


def _scanned(database: TestDatabase, user: str | None) -> Iterator[IndexUsage]:
    _, index = status_of(database, user=user)
    if index.usage is not None and index.usage.idx_scan:
        yield index.usage


def test_the_scans_of_partitions_are_those_of_the_whole(shop: TestDatabase) -> None:
    shop.execute("CREATE TABLE parts (id int) PARTITION BY RANGE (id)")
    for number in range(2):
        shop.execute(
            f"CREATE TABLE part_{number} PARTITION OF parts FOR VALUES FROM ({number}) TO ({number + 1})"
        )
    shop.execute("CREATE INDEX idx_parts ON parts (id)")
    with shop.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SELECT id FROM parts WHERE id IN (0, 1)")

    def scans() -> int | None:
        _, index = status_of(shop, manifest_of(declare("idx_parts", "parts", "id")))
        return None if index.usage is None or index.usage.idx_scan != 2 else 2

    wait_for("a scan of both partitions", scans)


def test_without_the_right_to_compile_the_journal_says_what_was_declared(
    shop: TestDatabase, monitor: str
) -> None:
    Run(shop, MANIFEST).init()
    shop.execute(sql.SQL("REVOKE SELECT ON messages FROM {}").format(sql.Identifier(monitor)))

    status, index = status_of(shop, user=monitor)
    shop.execute("DROP INDEX idx_sender")
    shop.execute("CREATE INDEX idx_sender ON messages (content)")
    changed, other = status_of(shop, user=monitor)
    shop.execute("ALTER INDEX idx_sender RENAME TO idx_moved")
    shop.execute("CREATE INDEX idx_twin ON messages (sender_id)")
    _, twin = status_of(shop, user=monitor)

    assert (index.observed.state, index.compared_with) == (IndexState.PRESENT, "journal")
    assert "permission denied for table messages" in (index.not_compared or "")
    assert status_exit_code(status) == 0
    assert (other.observed.state, status_exit_code(changed)) == (IndexState.CONFLICT, 4)
    assert (twin.observed.state, twin.observed.covered_by) == (IndexState.COVERED, "idx_twin")


def test_with_neither_it_stands_but_nobody_knows_whether_as_declared(
    shop: TestDatabase, monitor: str
) -> None:
    shop.execute(sql.SQL("REVOKE SELECT ON messages FROM {}").format(sql.Identifier(monitor)))
    shop.execute("CREATE INDEX idx_sender ON messages (content)")

    status, index = status_of(shop, user=monitor)

    assert (index.observed.state, index.compared_with) == (IndexState.PRESENT, None)
    assert (index.is_settled, status_exit_code(status)) == (False, 1)
    assert "not compared with the declaration: permission denied" in " ".join(status_as_text(status).split())


def test_a_leftover_of_a_dead_run_and_a_run_that_built_nothing(shop: TestDatabase) -> None:
    with journal_of(shop) as journal:
        journal.append(Phase.BUILDING, EventStatus.IN_PROGRESS, index_name="idx_sender")
    _, absent = status_of(shop)
    with held_build(shop, CONCURRENTLY, "somebody"):
        _, foreign = status_of(shop)
    left, leftover = status_of(shop)

    assert absent.observed.state is IndexState.ABSENT
    assert (foreign.observed.state, foreign.run) == (IndexState.BUILDING_FOREIGN, None)
    assert (leftover.observed.state, status_exit_code(left)) == (IndexState.INVALID_OURS, 3)


def test_a_manifest_that_does_not_fit_is_told_beside_the_rest(shop: TestDatabase) -> None:
    fit = declare("idx_fit", "messages", "id")
    manifest = manifest_of(declare("idx_a", "nowhere"), declare("idx_b", "messages", "nothing"), fit)

    status = read_status(as_declared(shop), manifest, RunOptions())

    states = [index.observed.state for index in status.indexes]
    assert states == [IndexState.ABSENT] * 3
    assert status.indexes[0].not_compared == "there is no table public.nowhere"
    assert 'column "nothing" does not exist' in (status.indexes[1].not_compared or "")
    assert (status.indexes[2].not_compared, status_exit_code(status)) == (None, 1)


def test_a_standby_tells_by_the_journal(own_server: OwnServer, own_standby: OwnServer) -> None:
    primary = TestDatabase(own_server(), "postgres")
    primary.execute("CREATE TABLE messages AS SELECT g AS id, g AS sender_id FROM generate_series(1, 100) g")
    Run(primary, MANIFEST).init()
    (observed,) = look_at(primary, MANIFEST)
    standby = TestDatabase(own_standby(primary.server), "postgres")
    wait_for(
        "the index on the standby",
        lambda: standby.execute("SELECT FROM pg_class WHERE oid = %s", [observed.indexrelid]) or None,
    )

    status, index = status_of(standby)

    assert status.in_recovery
    assert (index.observed.state, index.compared_with) == (IndexState.PRESENT, "journal")
    assert status_exit_code(status) == 0
