"""Which statements name a watched table, and what of their text may be published."""

import pytest

from exporter.evidence.statement_matching import is_wanted, names_a_table, publishable_text


def names(text: str, *tables: str) -> bool:
    """Whether the statement reads or writes one of the tables."""
    pattern = names_a_table(tables or ("messages",))
    return pattern is not None and is_wanted(text, pattern)


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
def test_a_statement_on_the_table_names(text: str) -> None:
    assert names(text)


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
    assert not names(text)


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
    assert names(text, table) is expected


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
