"""A small database to build on."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from tests.conftest import TestDatabase
from tests.support.builds import fill_shop


@pytest.fixture
def shop(database: TestDatabase) -> TestDatabase:
    """A database with the tables messages (1,000 rows, 10 senders) and posts (500 rows)."""
    fill_shop(database)
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
