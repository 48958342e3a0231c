"""Fixtures for all tests: PostgreSQL servers and databases, a clean environment, what was found where."""

import operator
import os
import signal
import subprocess
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from psycopg.abc import Params

from exporter.demo import nova
from tests.support import docker, postgres_versions, tools
from tests.support.postgres_server import (
    CONTAINER_IMAGE,
    EVERY_VERSION,
    SMALL,
    Connection,
    Kind,
    PostgresServer,
    Statement,
    local_binaries,
    make_server,
    make_standby,
)
from tests.support.run_directory import run_guard, shared_directory

GOLDEN = Path(__file__).parent / "golden"
FOREIGN_SETTINGS = ("PG", "DATA_SOURCE_NAME")
# The versions of which tests of every version have a diagonal: all but the oldest and the newest.
BETWEEN = EVERY_VERSION[1:-1]
COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<": operator.lt,
    "==": operator.eq,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        choices=("embedded", *EVERY_VERSION, "debian", "container"),
        default="embedded",
        help="the PostgreSQL to test with: 18 from PyPI (default; tests of every version have all of them), "
        "only this version, Debian's packaged one, or a container",
    )
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write tests/golden anew from what the code gives now, to be read before it is committed",
    )


# An example that a busy machine makes slow is no failure.
hypothesis.settings.register_profile("any-machine", deadline=None)
hypothesis.settings.load_profile("any-machine")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        # Made before the workers, which find it in their environment.
        shared_directory()
    # As Ctrl-C, so that fixtures are torn down and containers removed when the run is terminated.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell starts what runs in its background deaf to Ctrl-C, and so would be all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Under nohup they would be deaf to the end of a terminal; the run itself stays so.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _signal, _frame: None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "every_version" in metafunc.fixturenames:
        given: Kind = metafunc.config.getoption("postgres")
        kinds = EVERY_VERSION if given == "embedded" else (given,)
        names = [f"postgres{kind}" if kind.isdigit() else kind for kind in kinds]
        metafunc.parametrize("every_version", kinds, indirect=True, scope="session", ids=names)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_for_versions(item):
            item.add_marker(pytest.mark.versions)


def _is_for_versions(item: pytest.Item) -> bool:
    """Whether a case of a test of every version is left to `make test-versions`.

    `make test` has the oldest and the newest version of each, and of all cases together a diagonal.
    """
    callspec = getattr(item, "callspec", None)
    version = callspec.params.get("every_version") if callspec is not None else None
    if version not in BETWEEN or item.config.getoption("postgres") != "embedded":
        return False
    # The same in every process and however the tests are ordered.
    number = zlib.crc32(item.nodeid.replace(f"postgres{version}", "").encode())
    return number % (len(BETWEEN) * 2) != BETWEEN.index(version)


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [f"postgres: {_describe(config.getoption('postgres'))}", *tools.report_lines()]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("skipped, and why", sep="-")
    for report in skipped:
        _path, _line, reason = report.longrepr
        terminalreporter.line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")


# Last, because after Ctrl-C pytest tears the session's fixtures down in the same hook.
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    docker.remove_leftovers()
    run_guard().close()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the caller's environment reaches a test."""
    for name in list(os.environ):
        if name.startswith(FOREIGN_SETTINGS):
            monkeypatch.delenv(name)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Asserts that a text equals the file of that name in tests/golden, or writes it with --update-golden."""
    update: bool = request.config.getoption("--update-golden")

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if update:
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return check


@pytest.fixture(autouse=True)
def required_version(request: pytest.FixtureRequest) -> None:
    """Skips a test marked `pg(">= 16")` on a server that does not fit."""
    marker = request.node.get_closest_marker("pg")
    if marker is None:
        return
    comparison, major = marker.args[0].split()
    server: PostgresServer = request.getfixturevalue("server")
    if not COMPARISONS[comparison](server.version_num // 10000, int(major)):
        pytest.skip(f"needs PostgreSQL {marker.args[0]}, this is {server.version_num // 10000}")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """The server that tests share; a test may not stop it or change its settings."""
    server = make_server(request.config.getoption("postgres"))
    yield server
    server.close()


SharedServers = Callable[[Kind], PostgresServer]


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[SharedServers]:
    """Gives the server of a kind for tests of every version, started when it is first asked for.

    Not `server`: these can have standbys, which their pages tell of.
    """
    started: dict[Kind, PostgresServer] = {}
    with ExitStack() as stack:

        def find(kind: Kind) -> PostgresServer:
            if kind not in started:
                started[kind] = make_server(kind, SMALL)
                stack.callback(started[kind].close)
            return started[kind]

        yield find


@pytest.fixture(scope="session")
def every_version(request: pytest.FixtureRequest) -> Kind:
    """Each supported version in turn, as `own_server(kind=…)` takes it; or the one that --postgres names."""
    kind: Kind = request.param
    return kind


@pytest.fixture(scope="session")
def every_server(every_version: Kind, shared_servers: SharedServers) -> PostgresServer:
    """A server of each supported version in turn, which tests share; a test may not stop it."""
    return shared_servers(every_version)


@pytest.fixture(scope="session")
def shared_standbys(shared_servers: SharedServers) -> Iterator[SharedServers]:
    """Gives the standby of the shared server of a kind, made when it is first asked for."""
    made: dict[PostgresServer, PostgresServer] = {}
    with ExitStack() as stack:

        def find(kind: Kind) -> PostgresServer:
            primary = shared_servers(kind)
            if primary not in made:
                made[primary] = make_standby(primary)
                stack.callback(made[primary].close)
            return made[primary]

        yield find


@pytest.fixture(scope="session")
def every_standby(every_version: Kind, shared_standbys: SharedServers) -> PostgresServer:
    """The standby of each `every_server`, shared too."""
    return shared_standbys(every_version)


OwnServer = Callable[..., PostgresServer]


@pytest.fixture
def own_server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    """Makes private servers that a test may stop, kill or freeze: `own_server(settings={…}, kind="14")`."""
    given: Kind = request.config.getoption("postgres")
    with ExitStack() as stack:

        def make(
            settings: Mapping[str, str] | None = None,
            kind: Kind | None = None,
            *,
            another_system: bool = False,
        ) -> PostgresServer:
            server = make_server(kind or given, settings, another_system=another_system)
            stack.callback(server.close)
            return server

        yield make


@pytest.fixture
def own_standby() -> Iterator[OwnServer]:
    """Makes private standbys: `own_standby(primary, settings={…})`."""
    with ExitStack() as stack:

        def make(primary: PostgresServer, settings: Mapping[str, str] | None = None) -> PostgresServer:
            standby = make_standby(primary, settings)
            stack.callback(standby.close)
            return standby

        yield make


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """A database of the shared server that belongs to one test."""

    __test__ = False

    server: PostgresServer
    name: str

    @property
    def dsn(self) -> str:
        """The conninfo as the superuser."""
        return self.server.dsn(self.name)

    def connect(self, user: str | None = None, password: str | None = None) -> Connection:
        """A new autocommit connection."""
        return self.server.connect(self.name, user, password)

    def execute(self, query: Statement, params: Params | None = None) -> list[tuple[Any, ...]]:
        """The rows of one statement that the superuser runs in a session of its own."""
        return self.server.execute(query, self.name, params)


def own_database(server: PostgresServer, template: str | None = None) -> Iterator[TestDatabase]:
    """A fresh database on a server, a clone of `template` where one is given; dropped afterwards."""
    name = server.create_database(template)
    yield TestDatabase(server, name)
    server.drop_database(name)


@pytest.fixture
def database(server: PostgresServer) -> Iterator[TestDatabase]:
    """A fresh, empty database."""
    yield from own_database(server)


@pytest.fixture
def every_database(every_server: PostgresServer) -> Iterator[TestDatabase]:
    """A fresh, empty database on each supported version in turn."""
    yield from own_database(every_server)


@pytest.fixture(scope="session")
def nova_template(server: PostgresServer) -> Iterator[str]:
    """The name of a database with a small Nova schema, loaded once and cloned for every test."""
    name = server.create_database()
    with server.connect(name) as connection:
        nova.create_schema(connection)
        nova.load(connection, messages=20_000, posts=8_000)
    yield name
    server.drop_database(name)


@pytest.fixture
def nova_database(server: PostgresServer, nova_template: str) -> Iterator[TestDatabase]:
    """A database with users, messages, posts and user_feed_preferences, analyzed, without extra indexes."""
    yield from own_database(server, nova_template)


def _describe(kind: Kind) -> str:
    if kind == "container":
        return f"container {CONTAINER_IMAGE}"
    if kind == "debian" and tools.locate_debian_binaries() is None:
        return "Debian's, not found"
    if kind in postgres_versions.RELEASES and postgres_versions.locate_binaries(kind) is None:
        return f"{kind}, to be fetched"
    program = local_binaries(kind) / "postgres"
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return f"{answer.stdout.strip()} ({kind})"
