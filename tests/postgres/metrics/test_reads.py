"""Every SQL file of the serve line runs on the server and fills its row."""

from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import sql

from exporter.metrics.reads import ROWS
from exporter.model import ServerFacts
from exporter.postgres.journal import EventStatus, Journal, Phase
from exporter.postgres.progress import BuildProgress
from exporter.postgres.queries import Query, all_queries
from exporter.postgres.target import column_names
from tests.conftest import TestDatabase
from tests.support.postgres_server import Connection

TYPES = {**ROWS, "server_facts": ServerFacts, "build_progress": BuildProgress}


@dataclass(frozen=True, slots=True)
class Rung:
    what: str
    query: Query

    def __str__(self) -> str:
        return f"{self.what}-{'.'.join(map(str, self.query.minimum))}"


RUNGS = [Rung(what, query) for what in TYPES for query in all_queries()[what]]


@pytest.fixture
def filled(database: TestDatabase) -> TestDatabase:
    """A database with one row for every file, so that values are loaded and not only described."""
    database.execute("CREATE TABLE messages (id int PRIMARY KEY, content text)")
    database.execute("CREATE TABLE parent (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    with database.connect() as connection:
        journal = Journal(connection, "public", "090_test", "run")
        journal.ensure()
        journal.append(Phase.DONE, EventStatus.DONE, index_name="messages_pkey", definition="CREATE …")
        indexrelid = parameters(connection)["indexrelids"][0]
        journal.append(Phase.CATALOG_OK, EventStatus.DONE, detail={"indexrelid": indexrelid})
    return database


def parameters(connection: Connection) -> dict[str, Any]:
    tables = connection.execute("SELECT 'messages'::regclass::oid, 'parent'::regclass::oid").fetchone()
    indexes = connection.execute(
        "SELECT 'messages_pkey'::regclass::oid, 'parent_pkey'::regclass::oid"
    ).fetchone()
    assert tables is not None
    assert indexes is not None
    return {
        "schemanames": ["public", "public"],
        "schemaname": "public",
        "indexnames": ["messages_pkey", "absent"],
        "relnames": ["messages", "absent"],
        "relids": [*tables, *indexes],
        "indexrelids": list(indexes),
        "names": ["090_test"],
        "watch": True,
        "pattern": "^public\\.",
        "max_indexes": 10,
        "rejected": [1, -1],
        "queryids": [row[0] for row in connection.execute("SELECT 1::bigint")],
    }


def run(connection: Connection, rung: Rung) -> tuple[tuple[str, ...], int]:
    """The columns and the number of rows."""
    schema = "elsewhere" if rung.query.by_extension else "public"
    text = rung.query.text
    query = sql.SQL(text).format(schema=sql.Identifier(schema)) if "{schema}" in text else sql.SQL(text)
    given = parameters(connection)
    used = {name: value for name, value in given.items() if f"%({name})s" in text}
    cursor = connection.execute(query, used or None)
    assert cursor.description is not None
    rows = cursor.fetchall()
    return tuple(column.name for column in cursor.description), len(rows)


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if not rung.query.by_extension], ids=str)
def test_a_file_fills_its_row(filled: TestDatabase, rung: Rung) -> None:
    if filled.server.version_num // 10000 < rung.query.minimum[0]:
        pytest.skip(f"{rung} is for a newer server")
    with filled.connect() as connection:
        columns, rows = run(connection, rung)

    assert columns == column_names(TYPES[rung.what])
    assert rows > 0 or rung.what in ("build_progress", "statements_extension", "locked_relations")


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung.query.by_extension], ids=str)
def test_a_file_fills_its_row_with_every_extension_version(filled: TestDatabase, rung: Rung) -> None:
    available = filled.execute(
        "SELECT version FROM pg_available_extension_versions WHERE name = 'pg_stat_statements'"
    )
    versions = {version: tuple(map(int, version.split("."))) for (version,) in available}
    fitting = [version for version, parts in versions.items() if parts >= rung.query.minimum]
    filled.execute("CREATE SCHEMA elsewhere")

    assert "1.10" in fitting
    for version in fitting:
        create = "CREATE EXTENSION pg_stat_statements SCHEMA elsewhere VERSION {}"
        filled.execute(sql.SQL(create).format(sql.Literal(version)))
        with filled.connect() as connection:
            columns, rows = run(connection, rung)
        filled.execute("DROP EXTENSION pg_stat_statements")

        assert columns == column_names(TYPES[rung.what]), version
        assert rows > 0 or rung.what == "statement_texts", version
