"""Servers that a build's tests may crash, of the newest and the oldest version."""

from collections.abc import Iterator

import pytest

from tests.conftest import TestDatabase
from tests.support.builds import fill_shop
from tests.support.postgres_server import LocalServer, make_server

# Whole programs are slow to start: on the oldest version these of them by default, the rest with `long`.
BY_DEFAULT = ("at_a_random_moment", "while_it_waits_is_followed", "two_runs_at_once")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        is_slow = item.path.name == "test_killed_tool.py" and "postgres14" in item.name
        if is_slow and not any(name in item.name for name in BY_DEFAULT):
            item.add_marker(pytest.mark.long)


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
