"""Servers that a build's tests may crash, of the newest and the oldest version."""

from collections.abc import Iterator

import pytest

from tests.conftest import TestDatabase
from tests.support.builds import fill_shop
from tests.support.postgres_server import LocalServer, make_server


@pytest.fixture(scope="module", params=["18", "14"], ids=["postgres18", "postgres14"])
def crash_server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """A private server that the tests of a module may crash, stop and start again."""
    given = request.config.getoption("postgres")
    if given not in ("embedded", request.param):
        pytest.skip(f"--postgres {given}: these tests want {request.param}")
    server = make_server(request.param)
    assert isinstance(server, LocalServer)
    yield server
    server.close()


@pytest.fixture
def shop(crash_server: LocalServer) -> Iterator[TestDatabase]:
    """A database with messages and posts on a server that may be crashed; started again afterwards."""
    name = crash_server.create_database()
    database = TestDatabase(crash_server, name)
    fill_shop(database)
    yield database
    crash_server.start()
    crash_server.drop_database(name)
