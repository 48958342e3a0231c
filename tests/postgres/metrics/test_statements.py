"""Statements of pg_stat_statements: which are published, for whom, and what the server lets us know."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from exporter.metrics.collect.context import CollectOptions
from exporter.metrics.snapshot import DatabaseSnapshot
from tests.conftest import OwnServer, TestDatabase
from tests.postgres.metrics.collecting import (
    collect_once,
    collected,
    collector_of,
    declare,
    described,
    failures,
)

DECLARED = declare("idx_messages_sender", "messages", "sender_id")
PASSWORD = "throw-away"


@pytest.fixture
def messages(database: TestDatabase) -> TestDatabase:
    database.execute("CREATE EXTENSION pg_stat_statements")
    database.execute("CREATE TABLE messages (id int, sender_id int)")
    database.execute("CREATE TABLE other (id int)")
    # Making them was about messages too.
    database.execute("SELECT pg_stat_statements_reset()")
    return database


@pytest.fixture
def app_role(messages: TestDatabase) -> Iterator[str]:
    """A login role that may read messages and nothing else."""
    role = f"{messages.name}_app"
    messages.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), PASSWORD))
    messages.execute(sql.SQL("GRANT SELECT ON messages TO {}").format(sql.Identifier(role)))
    yield role
    messages.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
    messages.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def texts(snapshot: DatabaseSnapshot) -> list[str]:
    return sorted(snapshot.query_texts.values())


def test_statements_on_the_declared_tables_are_published(messages: TestDatabase) -> None:
    messages.execute("SELECT count(*) FROM messages WHERE sender_id = 17")
    messages.execute("SELECT count(*) FROM messages WHERE sender_id = 18")
    messages.execute("INSERT INTO messages VALUES (1, 2)")
    messages.execute("SELECT count(*) FROM other")
    messages.execute("ANALYZE messages")

    snapshot = collect_once(described(messages, DECLARED))

    assert texts(snapshot) == [
        "INSERT INTO messages VALUES ($1, $2)",
        "SELECT count(*) FROM messages WHERE sender_id = $1",
    ]
    rows = {snapshot.query_texts[row.queryid or 0]: row for row in snapshot.statements or ()}
    row = rows["SELECT count(*) FROM messages WHERE sender_id = $1"]
    assert (row.user, row.calls, row.rows, row.toplevel) == (messages.server.superuser, 2, 2, True)
    query = "SELECT total_exec_time / 1000, shared_blks_hit FROM pg_stat_statements WHERE queryid = %s"
    ((seconds, blocks),) = messages.execute(query, [row.queryid])
    assert row.exec_seconds == pytest.approx(seconds)
    assert row.shared_blks_hit == blocks
    assert failures(snapshot) == {}
    assert snapshot.statements_info is not None


def test_a_statement_of_another_database_is_not_ours(messages: TestDatabase) -> None:
    messages.server.execute("SELECT 1 AS messages")

    assert texts(collect_once(described(messages, DECLARED))) == []


def test_a_new_statement_is_found_and_a_known_one_keeps_its_text(messages: TestDatabase) -> None:
    messages.execute("SELECT 1 FROM messages")
    with collector_of(described(messages, DECLARED)) as collector:
        assert texts(collected(collector)) == ["SELECT $1 FROM messages"]

        messages.execute("SELECT 1 FROM other")
        messages.execute("DELETE FROM messages")
        assert texts(collected(collector)) == ["DELETE FROM messages", "SELECT $1 FROM messages"]


def test_texts_are_read_only_when_a_queryid_is_new(messages: TestDatabase) -> None:
    # How often the file statement_texts was run.
    reads_with_text = (
        "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements "
        "WHERE query LIKE '%DISTINCT ON (s.queryid)%'"
    )
    messages.execute("SELECT 1 FROM messages")
    with collector_of(described(messages, DECLARED)) as collector:
        # Our own reads are new statements too, the first times.
        for _ in range(3):
            collected(collector)
        ((before,),) = messages.execute(reads_with_text)
        collected(collector)
        ((settled,),) = messages.execute(reads_with_text)
        for _ in range(3):
            collected(collector)
        ((after,),) = messages.execute(reads_with_text)

    assert before > 0
    # The query of this test is new to the collector once more.
    assert after - settled <= 1


def test_after_a_reset_statements_return_with_their_new_counters(messages: TestDatabase) -> None:
    messages.execute("SELECT 1 FROM messages")
    messages.execute("SELECT 1 FROM messages")
    with collector_of(described(messages, DECLARED)) as collector:
        (before,) = collected(collector).statements or ()
        messages.execute("SELECT pg_stat_statements_reset()")
        gone = collected(collector).statements
        messages.execute("SELECT 1 FROM messages")
        (after,) = collected(collector).statements or ()

    assert (before.calls, gone, after.calls) == (2, (), 1)
    assert before.queryid == after.queryid


def test_the_cut_is_counted(messages: TestDatabase) -> None:
    for columns in ("id", "sender_id", "id, sender_id"):
        messages.execute(f"SELECT {columns} FROM messages")

    snapshot = collect_once(described(messages, DECLARED), CollectOptions(max_statements=2))

    assert len(snapshot.statements or ()) == 2
    assert snapshot.statements_cut == 1


def test_no_query_text_publishes_numbers_only(messages: TestDatabase) -> None:
    messages.execute("SELECT 1 FROM messages")

    snapshot = collect_once(described(messages, DECLARED), CollectOptions(query_text=False))

    assert snapshot.query_texts == {}
    assert len(snapshot.statements or ()) == 1


def test_no_statements_leaves_the_collector_out(messages: TestDatabase) -> None:
    snapshot = collect_once(described(messages, DECLARED), CollectOptions(max_statements=0))

    assert "statements" not in [outcome.collector for outcome in snapshot.outcomes]
    assert snapshot.statements is None


def test_without_the_extension_there_is_a_gap(database: TestDatabase) -> None:
    snapshot = collect_once(described(database, DECLARED))

    assert failures(snapshot) == {
        "statements": "the extension pg_stat_statements is not installed in this database"
    }
    assert snapshot.statements is None


def test_the_extension_may_lie_in_any_schema(messages: TestDatabase) -> None:
    messages.execute('CREATE SCHEMA "Odd ""schema"')
    messages.execute('ALTER EXTENSION pg_stat_statements SET SCHEMA "Odd ""schema"')
    messages.execute("SELECT 1 FROM messages")

    snapshot = collect_once(described(messages, DECLARED))

    assert texts(snapshot) == ["SELECT $1 FROM messages"]
    assert failures(snapshot) == {}


def test_an_extension_left_behind_by_an_upgrade_is_read_as_it_is(messages: TestDatabase) -> None:
    messages.execute("DROP EXTENSION pg_stat_statements")
    messages.execute("CREATE EXTENSION pg_stat_statements VERSION '1.8'")
    messages.execute("SELECT 1 FROM messages")

    snapshot = collect_once(described(messages, DECLARED))

    assert [row.toplevel for row in snapshot.statements or ()] == [None]
    assert snapshot.statements_info is None
    assert failures(snapshot) == {}


def test_an_extension_too_old_is_a_gap_that_says_so(messages: TestDatabase) -> None:
    messages.execute("DROP EXTENSION pg_stat_statements")
    messages.execute("CREATE EXTENSION pg_stat_statements VERSION '1.7'")

    snapshot = collect_once(described(messages, DECLARED))

    reason = "statements requires version 1.8 or newer, the server has 1.7"
    assert failures(snapshot) == {"statements": reason}


def test_two_users_are_two_series(messages: TestDatabase, app_role: str) -> None:
    messages.execute("SELECT 1 FROM messages")
    messages.connect(app_role, PASSWORD).execute("SELECT 1 FROM messages").connection.close()

    snapshot = collect_once(described(messages, DECLARED))

    users = {row.user: row.calls for row in snapshot.statements or ()}
    assert users == {messages.server.superuser: 1, app_role: 1}


def test_what_a_role_may_not_see_is_a_gap_and_never_a_series(messages: TestDatabase, app_role: str) -> None:
    messages.execute("SELECT 1 FROM messages")
    messages.connect(app_role, PASSWORD).execute("SELECT 2 FROM messages, messages m").connection.close()

    snapshot = collect_once(described(messages, DECLARED, user=app_role, password=PASSWORD))

    assert texts(snapshot) == ["SELECT $1 FROM messages, messages m"]
    assert {row.user for row in snapshot.statements or ()} == {app_role}
    assert "hidden; grant pg_monitor" in failures(snapshot)["statements"]


def test_passwords_of_utility_statements_are_never_published(messages: TestDatabase, app_role: str) -> None:
    messages.execute(sql.SQL("ALTER ROLE {} PASSWORD 'canary-messages'").format(sql.Identifier(app_role)))
    ((recorded,),) = messages.execute(
        "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%%canary-messages%%'"
    )

    snapshot = collect_once(described(messages, DECLARED))

    assert recorded > 0
    assert not any("canary" in text for text in texts(snapshot))


def test_a_text_that_spoils_all_texts_leaves_what_is_known(own_server: OwnServer) -> None:
    server = own_server()
    messages = TestDatabase(server, server.create_database())
    messages.execute("CREATE EXTENSION pg_stat_statements")
    messages.execute("CREATE TABLE messages (id int)")
    messages.execute("SELECT 1 FROM messages")
    server.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with collector_of(described(messages, DECLARED)) as collector:
        before = collected(collector)
        with server.connect("ascii") as connection:
            connection.execute(b'SELECT 1 AS "\xff\xfe"')
        messages.execute("SELECT id FROM messages")
        after = collected(collector)

    assert texts(before) == ["SELECT $1 FROM messages"]
    assert texts(after) == texts(before)
    assert "invalid byte sequence" in failures(after)["statements"]
