"""A small database to build on."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from tests.conftest import TestDatabase


@pytest.fixture
def shop(database: TestDatabase) -> TestDatabase:
    """A database with the tables messages (1,000 rows, 10 senders) and posts (500 rows)."""
    database.execute(
        """
        CREATE TABLE messages AS
        SELECT g AS id, g % 10 AS sender_id, md5(g::text) AS content, 'open'::text AS status,
            now() - g * interval '1 minute' AS created_at, NULL::timestamptz AS deleted_at
        FROM generate_series(1, 1000) g
        """
    )
    database.execute("CREATE TABLE posts AS SELECT * FROM messages WHERE id <= 500")
    database.execute("ANALYZE")
    return database


@pytest.fixture
def tablespace(database: TestDatabase) -> Iterator[str]:
    """The name of a tablespace beside the default one. Wants PostgreSQL 15."""
    name = f"fast_{database.name}"
    with database.connect() as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute(sql.SQL("CREATE TABLESPACE {} LOCATION ''").format(sql.Identifier(name)))
    yield name
    database.server.drop_database(database.name)
    database.server.execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(name)))
