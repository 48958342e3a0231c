"""Servers that a build's tests may crash, of the newest and the oldest version."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TestDatabase
from tests.faults.migrate.programs import MANIFEST, Tool
from tests.support.builds import fill_shop
from tests.support.postgres_server import LocalServer, make_server
from tests.support.writers import LOGGING

# What is the same on every server, as a kill between two statements: on the oldest version with `long`.
SAME_ON_EVERY_VERSION = (
    "before_its",
    "killed_between",
    "while_it_verifies",
    "after_a_drop",
    "killed_after_it",
    "of_the_whole_waits",
    "SIGHUP",
    "at_the_question",
    "of_a_partitioned_table_pass",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        is_here = item.path.parent == Path(__file__).parent
        if is_here and "postgres14" in item.name and any(name in item.name for name in SAME_ON_EVERY_VERSION):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="module", params=["18", "14"], ids=["postgres18", "postgres14"])
def crash_server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """A private server that the tests of a module may crash, stop and start again."""
    given = request.config.getoption("postgres")
    if given not in ("embedded", request.param):
        pytest.skip(f"--postgres {given}: these tests want {request.param}")
    server = make_server(request.param, LOGGING)
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


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two indexes of one table and one of another."""
    path = tmp_path / "001_test.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def tool(tmp_path: Path, manifest: Path) -> Iterator[Tool]:
    """Starts `init` and `rollback`."""
    tool = Tool(tmp_path, manifest)
    yield tool
    tool.close()
