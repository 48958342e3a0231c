"""pg_stat_statements in every version of the extension that a server has, however new the server is."""

from dataclasses import asdict

import pytest
from psycopg import sql

from exporter.metrics.snapshot import DatabaseSnapshot
from exporter.postgres.counters.statements import StatementRow
from tests.conftest import TestDatabase
from tests.postgres.metrics.collecting import collect_once, declare, described, failures, page_of
from tests.support.rows import misfits
from tests.unit.metrics.exposition.test_render import samples

DECLARED = declare("idx_messages_id", "messages")
STATEMENT = "SELECT count(*) FROM messages"
NESTED = f"""
    CREATE FUNCTION count_messages() RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE found bigint;
    BEGIN EXECUTE '{STATEMENT}' INTO found; RETURN found; END $$
"""
OLDEST_READ = (1, 8)
FIRST_WITH_TOPLEVEL = (1, 9)


@pytest.fixture
def shop(every_database: TestDatabase) -> TestDatabase:
    every_database.execute("CREATE SCHEMA elsewhere")
    every_database.execute("CREATE TABLE messages (id int)")
    every_database.execute("CREATE INDEX idx_messages_id ON messages (id)")
    return every_database


def available(database: TestDatabase) -> list[tuple[int, ...]]:
    """The versions of the extension that this server can install, oldest first."""
    query = "SELECT version FROM pg_available_extension_versions WHERE name = 'pg_stat_statements'"
    return sorted(tuple(map(int, version.split("."))) for (version,) in database.execute(query))


def install(database: TestDatabase, version: tuple[int, ...]) -> None:
    """Replaces the extension; what it has counted stays in the server."""
    database.execute("DROP EXTENSION IF EXISTS pg_stat_statements")
    create = sql.SQL("CREATE EXTENSION pg_stat_statements SCHEMA elsewhere VERSION {}")
    database.execute(create.format(".".join(map(str, version))))


def rows_of(snapshot: DatabaseSnapshot, text: str) -> list[StatementRow]:
    return [
        row
        for row in snapshot.statements or ()
        if row.queryid is not None and snapshot.query_texts[row.queryid] == text
    ]


def test_every_version_is_read_or_refused_with_the_reason(shop: TestDatabase) -> None:
    versions = available(shop)
    calls = 0

    assert {OLDEST_READ, FIRST_WITH_TOPLEVEL} <= set(versions)
    for version in versions:
        install(shop, version)
        shop.execute(STATEMENT)
        calls += 1
        snapshot = collect_once(described(shop, DECLARED))
        if version < OLDEST_READ:
            assert failures(snapshot) == {
                "statements": "statements requires version 1.8 or newer, the server has "
                + ".".join(map(str, version))
            }
            assert "pg_stat_statements_" not in page_of([snapshot]), version
            continue
        (row,) = rows_of(snapshot, STATEMENT)
        assert failures(snapshot) == {}, version
        assert misfits(asdict(row), StatementRow) == [], version
        assert (row.calls, row.user, row.rows) == (calls, "postgres", calls), version
        assert row.toplevel is (None if version < FIRST_WITH_TOPLEVEL else True), version
        assert (snapshot.statements_info is None) == (version < FIRST_WITH_TOPLEVEL), version


def test_a_statement_of_both_levels_is_one_series_where_levels_are_not_told(shop: TestDatabase) -> None:
    install(shop, OLDEST_READ)
    shop.execute(NESTED)
    with shop.connect() as connection:
        connection.execute("SET pg_stat_statements.track = 'all'")
        connection.execute(STATEMENT)
        connection.execute("SELECT count_messages()")

    snapshot = collect_once(described(shop, DECLARED))

    (row,) = rows_of(snapshot, STATEMENT)
    assert (row.calls, row.rows, row.toplevel) == (2, 2, None)
    assert len(samples(page_of([snapshot]))) > 0
