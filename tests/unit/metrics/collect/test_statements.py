"""Which statements are published, that they stay the same, and what of their text."""

import dataclasses
import random

import pytest

from exporter.evidence.statement_matching import publishable_text
from exporter.metrics.collect.statement_selection import StatementSelection
from exporter.postgres.counters.statements import StatementRow
from tests.support.snapshots import STATEMENT


def row(queryid: int | None, calls: int = 1, user: str = "app", toplevel: bool = True) -> StatementRow:
    return dataclasses.replace(STATEMENT, queryid=queryid, calls=calls, user=user, toplevel=toplevel)


def selection(max_statements: int = 100, *tables: str, length: int = 300) -> StatementSelection:
    made = StatementSelection(max_statements=max_statements, query_text_length=length)
    made.watch(tables or ("messages",))
    return made


def is_selected(text: str, *tables: str) -> bool:
    chosen = selection(100, *tables)
    chosen.learn([1], {1: text})
    return bool(chosen.choose([row(1)])[0])


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM messages WHERE id = $1",
        "select 1 from public.messages m",
        'SELECT 1 FROM "messages"',
        "SELECT 1 FROM Messages",
        "INSERT INTO messages VALUES ($1)",
        "UPDATE messages SET a = $1",
        "DELETE FROM ONLY messages",
        "MERGE INTO messages USING x ON true WHEN MATCHED THEN DO NOTHING",
        "WITH x AS (SELECT 1) SELECT * FROM x, messages",
        "(SELECT 1 FROM messages) UNION (SELECT 2)",
        "-- a comment\n  /* and\n another */ SELECT 1 FROM messages",
        "SELECT\t1\nFROM\nmessages",
    ],
)
def test_a_statement_on_the_table_is_selected(text: str) -> None:
    assert is_selected(text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM messages_archive",
        "SELECT * FROM old_messages",
        "SELECT * FROM messages$1",
        "SELECT * FROM émessages",
        "SELECT 1",
        "CREATE INDEX ON messages (id)",
        "ALTER ROLE messages PASSWORD 'secret'",
        "EXPLAIN SELECT * FROM messages",
        "SELECT 1 -- messages",
        "/* /* */ SELECT messages */ ALTER ROLE messages PASSWORD 'secret'",
        "COPY (SELECT * FROM messages) TO STDOUT",
        "SELECTED messages",
        "/* SELECT */ VACUUM messages",
        "",
        "(" * 5000 + "VACUUM messages",
        "/**/" * 5000 + "VACUUM messages",
    ],
)
def test_another_statement_is_not(text: str) -> None:
    assert not is_selected(text)


@pytest.mark.parametrize(
    ("table", "text", "expected"),
    [
        ("My Table", 'SELECT 1 FROM "My Table"', True),
        ("My Table", "SELECT 1 FROM My, Table", False),
        ('quo"te', 'SELECT 1 FROM "quo""te"', True),
        ("straße", "SELECT 1 FROM straße", True),
        ("a.b*", 'SELECT 1 FROM "a.b*"', True),
        ("a.b*", "SELECT 1 FROM a.bbb", False),
        ("Messages", "SELECT 1 FROM messages", False),
        ("line\nbreak", 'SELECT 1 FROM "line\nbreak"', True),
    ],
)
def test_odd_table_names(table: str, text: str, expected: bool) -> None:
    assert is_selected(text, table) is expected


def test_without_tables_nothing_is_selected() -> None:
    chosen = StatementSelection(max_statements=10, query_text_length=100)
    chosen.watch(())
    chosen.learn([1], {1: "SELECT 1 FROM messages"})

    assert chosen.choose([row(1)]) == ((), 0)


def test_texts_are_asked_for_once() -> None:
    chosen = selection()
    rows = [row(1), row(2), row(None), row(3), row(1, user="other")]

    assert chosen.unknown(rows) == [1, 2, 3]
    chosen.learn([1, 2, 3], {1: "SELECT 1 FROM messages", 2: "SELECT 1"})

    assert chosen.unknown(rows) == [3]
    assert set(chosen.rejected) == {2}


def test_a_lost_text_is_not_asked_for_again_and_again() -> None:
    chosen = selection()
    chosen.learn([1], {1: None})

    assert chosen.unknown([row(1)]) == []


def test_hidden_statements_are_never_published() -> None:
    chosen = selection()

    assert chosen.choose([row(None, user="a"), row(None, user="b")]) == ((), 0)


def test_the_same_query_of_two_users_is_two_series() -> None:
    chosen = selection()
    chosen.learn([1], {1: "SELECT 1 FROM messages"})
    rows = [row(1), row(1, user="other"), row(1, toplevel=False)]

    assert chosen.choose(rows) == (tuple(rows), 0)
    assert chosen.texts(rows) == {1: "SELECT 1 FROM messages"}


def learned(max_statements: int, queryids: range) -> StatementSelection:
    chosen = selection(max_statements)
    chosen.learn(queryids, dict.fromkeys(queryids, "SELECT 1 FROM messages"))
    return chosen


def test_the_most_called_are_kept_and_the_cut_is_counted() -> None:
    chosen = learned(2, range(1, 6))
    rows = [row(queryid, calls=queryid) for queryid in range(1, 6)]

    kept, cut = chosen.choose(rows)

    assert ({statement.queryid for statement in kept}, cut) == ({4, 5}, 3)


def test_what_was_chosen_stays_chosen_whatever_is_called_more() -> None:
    chosen = learned(2, range(1, 6))
    chosen.choose([row(queryid, calls=queryid) for queryid in range(1, 6)])
    later = [row(queryid, calls=100 - queryid) for queryid in range(1, 6)]
    random.Random(7).shuffle(later)

    kept, cut = chosen.choose(later)

    assert ({statement.queryid for statement in kept}, cut) == ({4, 5}, 3)


def test_an_evicted_statement_gives_its_place_to_one_that_waits() -> None:
    chosen = learned(2, range(1, 4))
    chosen.choose([row(1, 1), row(2, 2), row(3, 3)])

    kept, cut = chosen.choose([row(1, 1), row(3, 3)])

    assert ({statement.queryid for statement in kept}, cut) == ({1, 3}, 0)


def test_an_evicted_statement_that_returns_finds_its_place_when_nobody_took_it() -> None:
    chosen = learned(2, range(1, 4))
    chosen.choose([row(2, 2), row(3, 3)])
    chosen.choose([row(3, 3)])

    kept, cut = chosen.choose([row(1, 50), row(2, 1), row(3, 3)])

    assert ({statement.queryid for statement in kept}, cut) == ({2, 3}, 1)


def test_other_tables_forget_every_decision() -> None:
    chosen = selection(100, "messages")
    chosen.learn([1], {1: "SELECT 1 FROM posts"})
    assert set(chosen.rejected) == {1}

    chosen.watch(("messages", "posts"))

    assert chosen.unknown([row(1)]) == [1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1\n  FROM messages\t", "SELECT 1 FROM messages"),
        ("UPDATE users SET password = 'hunter2' WHERE id = 1", "UPDATE users SET password = …"),
        ("UPDATE users SET password = E'hunter\\'2'", "UPDATE users SET password = …"),
        ("UPDATE users SET password = $$hunter2$$", "UPDATE users SET password = …"),
        ("UPDATE users SET password = $tag$hunter2$tag$", "UPDATE users SET password = …"),
        ("SELECT 1 FROM m WHERE a = $1 AND b = $2", "SELECT 1 FROM m WHERE a = $1 AND b = $2"),
        ("SELECT 1 FROM m /*action='show'*/", "SELECT 1 FROM m"),
        ("SELECT 1 -- password canary\nFROM m --", "SELECT 1 FROM m"),
        ("/* canary /* nested */ canary */SELECT 1", "SELECT 1"),
        ("SELECT/* canary */1 FROM m /* canary", "SELECT 1 FROM m"),
        ("SELECT 1--canary", "SELECT 1"),
        ('SELECT "a -- b /* c */ ""d\'" FROM m', 'SELECT "a -- b /* c */ ""d\'" FROM m'),
        ("SELECT '/*', canary, '*/'", "SELECT …"),
        ("SELECT $1, $2 -- $$", "SELECT $1, $2"),
        ('SELECT "canary', "SELECT …"),
    ],
)
def test_published_text(text: str, expected: str) -> None:
    assert publishable_text(text, 300) == expected


def test_published_text_is_cut_at_its_length() -> None:
    assert publishable_text("SELECT 1 FROM messages", 10) == "SELECT 1 …"
    assert publishable_text("SELECT 1", 8) == "SELECT 1"
    assert publishable_text("SELECT 1", 1) == "…"
