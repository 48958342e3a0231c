"""Identifiers and placeholders, without a server; tests/postgres asks one whether this is true."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.model import quote_identifier
from exporter.parsing.text import (
    InvalidText,
    parse_identifier,
    parse_qualified,
    placeholder_faults,
    placeholder_names,
    unbalanced_parentheses,
    without_constants,
)

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    lambda name: len(name.encode()) <= 63
)


@given(NAMES)
def test_every_name_survives_quoting_and_parsing(name: str) -> None:
    assert parse_identifier(quote_identifier(name)) == name


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_every_qualified_name_survives_quoting_and_parsing(names: list[str]) -> None:
    assert parse_qualified(".".join(quote_identifier(name) for name in names)) == tuple(names)


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parts = parse_qualified(text)
    except InvalidText:
        return

    assert parts
    assert all(0 < len(part.encode()) <= 63 for part in parts)


@given(NAMES, st.integers(min_value=64, max_value=200))
def test_a_name_is_never_cut(name: str, length: int) -> None:
    long_name = (name * length)[:length]
    assume(len(long_name.encode()) > 63)

    with pytest.raises(InvalidText, match="bytes long"):
        parse_identifier(quote_identifier(long_name))


def test_63_bytes_of_utf8_are_kept_and_64_refused() -> None:
    assert parse_identifier("ä" * 31 + "a") == "ä" * 31 + "a"
    with pytest.raises(InvalidText, match="64 bytes long"):
        parse_identifier("ä" * 32)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Messages", ("messages",)),
        ("ÄÖ", ("ÄÖ",)),
        ('"Messages"', ("Messages",)),
        ('"a ""quoted"" name"', ('a "quoted" name',)),
        ('public . "Odd.Name"', ("public", "Odd.Name")),
        ("_a$1", ("_a$1",)),
        ('"line\nbreak"', ("line\nbreak",)),
    ],
)
def test_identifiers_fold_as_the_server_folds_them(text: str, parts: tuple[str, ...]) -> None:
    assert parse_qualified(text) == parts


@pytest.mark.parametrize(
    "text", ["", "1a", "a b", "a.", ".a", "a..b", '""', '"a', 'a"b"', "a;b", "a-b", 'U&"d0061"', '"a\0b"']
)
def test_what_is_no_identifier_is_refused(text: str) -> None:
    with pytest.raises(InvalidText):
        parse_qualified(text)


def test_a_qualified_name_is_no_single_identifier() -> None:
    with pytest.raises(InvalidText, match="qualified"):
        parse_identifier("public.messages")


def test_placeholders_are_found_once_each_in_order() -> None:
    sql = "SELECT %(b)s, %(a)s, '%%(c)s' WHERE x = %(b)b"

    assert placeholder_names(sql) == ("b", "a")


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("SELECT 1 WHERE a = %s", "positional"),
        ("SELECT 1 WHERE a = %s AND b = %(b)s", "positional"),
        ("SELECT 1 WHERE a LIKE 'a%' AND b = %(b)s", "single percent"),
        ("SELECT 1 WHERE a = %(b)d", "incomplete"),
        ("SELECT 1 WHERE a = %(b)", "incomplete"),
        ("SELECT 1 WHERE a = %()s", "incomplete"),
    ],
)
def test_wrong_placeholders_are_named(sql: str, fault: str) -> None:
    ((what, hint),) = placeholder_faults(sql)

    assert fault in what
    assert hint


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM a WHERE b LIKE '%sale%'",
        "SELECT 1 FROM a WHERE b LIKE 'it''s %s'",
        r"SELECT 1 FROM a WHERE b LIKE E'it\'s %s'",
        "SELECT $q$ %s $q$",
        "SELECT 1 -- %s\n",
        "SELECT 1 /* %s */",
        "SELECT id % 7 FROM a",
        "SELECT id %size FROM a",
        "SELECT 1 FROM a WHERE b LIKE 'a%%' AND c = %(c)s",
    ],
)
def test_percent_signs_that_mean_themselves_are_left_alone(sql: str) -> None:
    assert placeholder_faults(sql) == []


@pytest.mark.parametrize("sql", ["coalesce(a", "b)", "a[1", "(a]", "f(g(x)"])
def test_unbalanced_parentheses_are_seen(sql: str) -> None:
    assert unbalanced_parentheses(sql)


@pytest.mark.parametrize("sql", ["lower(a)", "a[1]", "a = '('", '"("', "f(g(x), ')')", "$$($$", ""])
def test_balanced_parentheses_pass(sql: str) -> None:
    assert not unbalanced_parentheses(sql)


# ------------------------------------------------------------------ without constants


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "UPDATE users SET password = 'hun''ter2', n=42 WHERE x = 1.5e3",
            "UPDATE users SET password = ?, n=? WHERE x = ?",
        ),
        ("SELECT E'a\\'secret', U&'secret', x'5ec3e7', $$secret$$, $t$ 'secret' $t$", "SELECT ?, ?, ?, ?, ?"),
        ('SELECT "Odd \'n", t_1.c2 FROM t2 WHERE id = $1', 'SELECT "Odd \'n", t_1.c2 FROM t2 WHERE id = $1'),
        ("SELECT 1 -- secret\n , /* secret */ x", "SELECT ? , x"),
        ("SELECT\n\tx\x1b[2J", "SELECT x [?J"),
        # Cut by the server, in the middle of whatever it was.
        ("ALTER ROLE x PASSWORD 'secr", "ALTER ROLE x PASSWORD ?"),
        ("SELECT 'it''", "SELECT ?"),
        ("SELECT E'secret\\", "SELECT ?"),
        ("SELECT $$secret", "SELECT ?"),
        ("SELECT x /* secret", "SELECT x"),
    ],
)
def test_constants_and_comments_are_not_shown(text: str, shown: str) -> None:
    assert without_constants(text) == shown


@given(st.text())
def test_any_text_is_shown_on_one_line(text: str) -> None:
    assert without_constants(text).isprintable()
