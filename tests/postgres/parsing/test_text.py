"""Identifiers as the server itself reads and writes them."""

import psycopg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from exporter.model import quote_identifier
from exporter.parsing.text import InvalidText, parse_identifier, parse_qualified
from tests.conftest import TestDatabase

# The characters that decide, more often than chance would bring them.
TEXTS = st.text(st.sampled_from('aZ_0$."  äÄ\n') | st.characters(codec="utf-8", exclude_characters="\0"))
ON_ONE_SERVER = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def ours(text: str) -> tuple[str, ...] | None:
    try:
        return parse_qualified(text)
    except InvalidText:
        return None


def theirs(database: TestDatabase, text: str) -> tuple[str, ...] | None:
    try:
        ((parts,),) = database.execute("SELECT parse_ident(%s)", [text])
    except psycopg.errors.InvalidParameterValue:
        return None
    return tuple(parts)


@ON_ONE_SERVER
@given(text=TEXTS)
def test_names_are_read_as_parse_ident_reads_them(database: TestDatabase, text: str) -> None:
    # PostgreSQL 16 is the first that takes a vertical tab for a blank; older ones refuse the name.
    assume(database.server.version_num >= 160000 or "\v" not in text)
    expected = theirs(database, text)

    if expected is not None and any(len(part.encode()) > 63 for part in expected):
        expected = None
    assert ours(text) == expected


@ON_ONE_SERVER
@given(name=TEXTS.filter(lambda name: 0 < len(name.encode()) <= 63))
def test_what_we_quote_and_what_the_server_quotes_is_the_same_name(database: TestDatabase, name: str) -> None:
    ((quoted,),) = database.execute("SELECT quote_ident(%s)", [name])

    assert parse_identifier(quoted) == name
    assert theirs(database, quote_identifier(name)) == (name,)


@pytest.mark.parametrize("name", ['"Odd ""x"" name"', "Straße", '"line\nbreak"', "a$1", '"ä.ö"'])
def test_a_table_of_that_name_is_found(database: TestDatabase, name: str) -> None:
    database.execute(f"CREATE TABLE {name} ()")

    rows = database.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200")

    assert rows == [(parse_identifier(name),)]
