"""Whom a concurrent build would wait for: each rule of the server, from sessions that really do it."""

from collections.abc import Sequence
from dataclasses import asdict

import psycopg
import pytest
from psycopg import sql

from exporter.postgres.sessions.blockers import Blocker, read_blockers
from tests.conftest import OwnServer, TestDatabase
from tests.support.builds import executing, held_build, session, writer
from tests.support.postgres_server import Connection
from tests.support.roles import PASSWORD
from tests.support.rows import misfits
from tests.support.waiting import wait_for


@pytest.fixture
def shop(every_database: TestDatabase) -> TestDatabase:
    """A database with the tables messages and posts on each version."""
    every_database.execute("CREATE TABLE messages AS SELECT g AS id FROM generate_series(1, 100) g")
    every_database.execute("CREATE TABLE posts AS SELECT * FROM messages")
    return every_database


def blockers(database: TestDatabase, table: str = "messages", user: str | None = None) -> Sequence[Blocker]:
    ((relid,),) = database.execute("SELECT %s::regclass::oid::int8", [table])
    if user is None:
        with session(database) as connection:
            return read_blockers(connection, [relid])
    with database.connect(user, PASSWORD) as connection:
        return read_blockers(connection, [relid])


def begin(connection: Connection, *statements: str, isolation: str = "READ COMMITTED") -> None:
    connection.execute(sql.SQL("BEGIN ISOLATION LEVEL {}").format(sql.SQL(isolation)))
    for statement in statements:
        connection.execute(statement)


def test_a_writer_of_the_table_counts_even_of_no_row(shop: TestDatabase) -> None:
    with writer(shop) as connection:
        pid = connection.info.backend_pid
        (found,) = blockers(shop)
        assert blockers(shop, "posts") == []

    assert (found.kind, found.mode, found.granted) == ("lock", "RowExclusiveLock", True)
    assert (found.pid, found.usename) == (pid, "postgres")
    assert (found.application_name, found.state) == ("a writer", "idle in transaction")
    assert found.transaction_age_seconds is not None
    assert not found.builds_index
    assert f"pid {found.pid}, user postgres, a writer, idle in transaction" in found.described
    assert misfits(asdict(found), Blocker) == []


def test_a_snapshot_counts_whatever_it_reads(shop: TestDatabase) -> None:
    with shop.connect() as connection:
        begin(connection, "SELECT count(*) FROM posts", isolation="REPEATABLE READ")
        (found,) = blockers(shop)
        assert found.pid == connection.info.backend_pid

    assert (found.kind, found.relid, found.mode) == ("snapshot", None, None)
    assert found.query == "SELECT count(*) FROM posts"


def test_an_open_cursor_counts(shop: TestDatabase) -> None:
    with shop.connect() as connection:
        begin(connection, "DECLARE c CURSOR FOR SELECT * FROM posts", "FETCH 1 FROM c")

        assert [one.kind for one in blockers(shop)] == ["snapshot"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM messages",
        "SELECT * FROM messages WHERE id = 1 FOR UPDATE",
        "DELETE FROM posts WHERE false",
    ],
)
def test_an_idle_transaction_without_either_does_not(shop: TestDatabase, statement: str) -> None:
    with shop.connect() as connection:
        begin(connection, statement)

        assert blockers(shop) == []


def test_another_database_does_not_count(shop: TestDatabase) -> None:
    with shop.server.connect() as connection:
        begin(connection, "SELECT 1", isolation="REPEATABLE READ")

        assert blockers(shop) == []


def test_a_waiting_lock_counts_where_the_build_queues_behind_it(shop: TestDatabase) -> None:
    with shop.connect() as reader:
        begin(reader, "SELECT count(*) FROM messages")
        with executing(shop.dsn, "TRUNCATE messages") as pid:
            (found,) = wait_for("the waiting lock", lambda: blockers(shop) or None)

    assert (found.kind, found.mode, found.granted, found.pid) == ("lock", "AccessExclusiveLock", False, pid)


def test_the_strongest_lock_of_a_session_is_told(shop: TestDatabase) -> None:
    with shop.connect() as connection:
        begin(
            connection, "DELETE FROM messages WHERE false", "LOCK TABLE messages IN SHARE ROW EXCLUSIVE MODE"
        )

        assert [one.mode for one in blockers(shop)] == ["ShareRowExclusiveLock"]


def test_builds_are_marked(shop: TestDatabase) -> None:
    statement = sql.SQL("CREATE INDEX CONCURRENTLY idx ON messages (id)")
    with held_build(shop, statement, "pg-index-exporter/0badcafe/idx") as pid:
        found = {one.pid: one for one in blockers(shop)}

    assert (found[pid].builds_index, found[pid].is_ours) == (True, True)
    assert sorted((one.builds_index, one.is_ours) for one in found.values()) == [(False, False), (True, True)]


def test_a_text_that_may_hold_a_password_is_not_told(shop: TestDatabase) -> None:
    with shop.connect() as connection:
        begin(
            connection,
            "DELETE FROM messages WHERE false",
            "SET LOCAL \"my.secret\" = 'hunter2'",
        )

        (found,) = blockers(shop)

    assert found.session.shown_query == 'SET LOCAL "my.secret" = ?'
    assert "hunter2" not in found.described


def test_without_the_right_to_see_others_only_pid_user_and_application_are_known(shop: TestDatabase) -> None:
    nobody = f"{shop.name}_nobody"
    shop.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(nobody), PASSWORD))
    try:
        with writer(shop) as connection, shop.connect() as reader:
            begin(reader, "SELECT 1", isolation="REPEATABLE READ")
            found = {one.kind: one for one in blockers(shop, user=nobody)}
            pids = (connection.info.backend_pid, reader.info.backend_pid)
    finally:
        shop.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(nobody)))

    assert (found["lock"].pid, found["snapshot"].pid) == pids
    for one in found.values():
        assert one.usename == "postgres"
        assert (one.state, one.transaction_age_seconds, one.prevents_wraparound) == (None, None, None)
        assert one.query is None


def test_a_prepared_transaction_counts(own_server: OwnServer) -> None:
    shop = TestDatabase(own_server({"max_prepared_transactions": "2"}), "postgres")
    shop.execute("CREATE TABLE messages (id int)")
    with shop.connect() as connection:
        begin(connection, "INSERT INTO messages VALUES (1)", "PREPARE TRANSACTION 'it''s 1'")
    (found,) = blockers(shop)

    assert (found.kind, found.mode, found.pid, found.gid) == ("prepared", "RowExclusiveLock", None, "it's 1")
    assert found.usename == "postgres"
    assert found.transaction_age_seconds is not None
    assert "prepared transaction" in found.described
    assert misfits(asdict(found), Blocker) == []


def test_a_manual_vacuum_counts_by_its_lock_and_only_by_it(shop: TestDatabase) -> None:
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        begin(connection, "LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE")

        assert [(one.kind, one.mode) for one in blockers(shop)] == [("lock", "ShareUpdateExclusiveLock")]
        assert blockers(shop, "posts") == []
