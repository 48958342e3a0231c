"""Roles and servers in the states that the preflight tells of."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from tests.conftest import OwnServer, TestDatabase
from tests.support.roles import PASSWORD


@pytest.fixture
def stranger(shop: TestDatabase) -> Iterator[str]:
    """A role that may log in and nothing else."""
    name = f"{shop.name}_stranger"
    shop.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), PASSWORD))
    yield name
    shop.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    shop.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def own_shop(own_server: OwnServer, request: pytest.FixtureRequest) -> TestDatabase:
    """A private server with the settings of the test, and the table messages on it."""
    database = TestDatabase(own_server(getattr(request, "param", {})), "postgres")
    database.execute(
        "CREATE TABLE messages AS SELECT g AS id, g % 10 AS sender_id FROM generate_series(1, 1000) g"
    )
    database.execute("ANALYZE")
    return database
