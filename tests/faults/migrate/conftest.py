"""Servers that a build's tests may crash, of the newest and the oldest version."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TestDatabase
from tests.faults.migrate.programs import MANIFEST, Tool
from tests.support.builds import fill_shop
from tests.support.postgres_server import LocalServer, make_server
from tests.support.writers import LOGGING

# What is the same on every server, as a kill between two statements: on the oldest only with `versions`.
SAME_ON_EVERY_VERSION = (
    "before_its",
    "killed_between",
    "while_it_verifies",
    "while_it_analyzes",
    "while_its_drop_waits",
    "after_a_drop",
    "killed_after_it",
    "of_the_whole_waits",
    "at_a_random_moment",
    "with_its_host",
    "one_host",
    "SIGHUP",
    "where_it_is_told_to",
    "at_the_question",
    "second_ctrl_c",
    "two_ctrl_c",
    "of_a_partitioned_table_pass",
    "of_psqls_own_build",
    "writers_do_wait_for_is_seen",
    "taken",
    "is_never_built_on",
    "stays_away",
    # Some cases stay: the last phases of a build, one wait, one right, one cut of the network.
    "building index: s",
    "old snapshots",
    "before the build",
    "postgres14-create",
    "postgres14-temporary",
    *(f"any_question_is_survived[postgres14-{number}" for number in range(1, 9)),
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        is_here = item.path.parent == Path(__file__).parent
        if is_here and "postgres14" in item.name and any(name in item.name for name in SAME_ON_EVERY_VERSION):
            item.add_marker(pytest.mark.versions)


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
