"""A small database to build on."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from tests.conftest import SharedServers, TestDatabase, own_database
from tests.support.builds import fill_shop
from tests.support.postgres_server import EVERY_VERSION, PostgresServer

OLDEST = EVERY_VERSION[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # Faults of builds are those of the server: what a marked test breaks is broken in the oldest version too.
    is_marked = any(metafunc.definition.iter_markers("oldest_too"))
    given = metafunc.config.getoption("postgres")
    if is_marked and given == "embedded":
        ids = [given, f"postgres{OLDEST}"]
        metafunc.parametrize("database", [None, OLDEST], indirect=True, ids=ids)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[TestDatabase]:
    """A fresh, empty database; of the oldest version too for a test marked so."""
    server: PostgresServer
    if (kind := getattr(request, "param", None)) is None:
        server = request.getfixturevalue("server")
    else:
        find: SharedServers = request.getfixturevalue("shared_servers")
        server = find(kind)
    yield from own_database(server)


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
