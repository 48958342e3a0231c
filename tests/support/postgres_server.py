"""PostgreSQL servers for tests: 14 to 18, Debian's own, or a container, behind one interface."""

import contextlib
import functools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from psycopg import sql
from psycopg.abc import Params
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus

from exporter.demo.guard import primary_group
from exporter.demo.installation import reachable_binaries, unprivileged_user
from exporter.demo.processes import children
from exporter.demo.server import STOP_SIGNALS, EmbeddedServer, StopMode, find_binaries
from tests.support import docker
from tests.support.clusters import copy_cluster, quicken_password
from tests.support.ports import free_port
from tests.support.run_directory import data_directory, run_guard, shared_directory, shared_lock
from tests.support.tools import find_debian_binaries, find_version_binaries, require_docker
from tests.support.waiting import wait_for

Version = Literal["14", "15", "16", "17", "18"]
LocalKind = Literal["embedded", "debian"] | Version
Kind = LocalKind | Literal["container"]
Connection = psycopg.Connection[tuple[Any, ...]]
Statement = str | sql.SQL | sql.Composed

EVERY_VERSION: tuple[Version, ...] = ("14", "15", "16", "17", "18")
CONTAINER_IMAGE = "postgres:17"
# A test server is thrown away: it may lose everything in a crash of the machine, never in one of its own.
SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    # One test's statements must not be evicted by all that ran before.
    "pg_stat_statements.max": "30000",
    "track_commit_timestamp": "off",
    "fsync": "off",
    "full_page_writes": "off",
}
# What one that runs beside several others has on top.
SMALL = {"shared_buffers": "32MB"}
# Passwords of the tests' roles cost no more than they must; older versions have no such setting.
QUICK_PASSWORDS = {"scram_iterations": "1"}
KINDS_WITH_QUICK_PASSWORDS: tuple["Kind", ...] = ("embedded", "16", "17", "18", "container")


class PostgresServer(ABC):
    """A running PostgreSQL that belongs to the tests, reached over TCP with a password."""

    host: str
    port: int
    superuser = "postgres"

    def __init__(self) -> None:
        self.password = secrets.token_hex(12)

    @functools.cached_property
    def version_num(self) -> int:
        """The server's version as in server_version_num, such as 180006."""
        with self.connect() as connection:
            return connection.info.server_version

    def dsn(self, dbname: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """The conninfo of a database; as the superuser with its password unless told otherwise."""
        if user in (None, self.superuser) and password is None:
            password = self.password
        given = {"user": user or self.superuser, "password": password}
        return make_conninfo(
            host=self.host,
            port=self.port,
            dbname=dbname,
            **{name: value for name, value in given.items() if value is not None},
        )

    def connect(
        self, dbname: str = "postgres", user: str | None = None, password: str | None = None
    ) -> Connection:
        """A new autocommit connection."""
        return psycopg.connect(self.dsn(dbname, user, password), autocommit=True)

    def execute(
        self, query: Statement, dbname: str = "postgres", params: Params | None = None
    ) -> list[tuple[Any, ...]]:
        """The rows of one statement that the superuser runs in a session of its own."""
        with self.connect(dbname) as connection:
            cursor = connection.execute(query, params)
            # Not by the description, which is empty for rows without columns: SELECT FROM pg_class.
            has_rows = cursor.pgresult is not None and cursor.pgresult.status == ExecStatus.TUPLES_OK
            return cursor.fetchall() if has_rows else []

    def create_database(self, template: str | None = None) -> str:
        """The name of a new database, a clone of `template` where one is given."""
        name = f"test_{secrets.token_hex(6)}"
        # Copying files takes a third of the time of copying blocks, and its checkpoints are cheap here.
        strategy = sql.SQL(" STRATEGY file_copy" if self.version_num >= 150000 else "")
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template or "template1")
        )
        self.execute(statement + strategy)
        return name

    def drop_database(self, name: str) -> None:
        """Drops a database together with the sessions in it."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    @abstractmethod
    def start(self) -> None:
        """Starts the server on its port and waits until it answers."""

    @abstractmethod
    def stop(self, mode: StopMode = "fast") -> None:
        """Stops the server and keeps its data."""

    @abstractmethod
    def kill(self) -> None:
        """Kills the server without warning: the next start is a crash recovery."""

    @abstractmethod
    def freeze(self) -> None:
        """Stops every process of the server where it is: connections stay open, nothing answers."""

    @abstractmethod
    def thaw(self) -> None:
        """Lets a frozen server go on."""

    @abstractmethod
    def log(self) -> str:
        """Everything that the server has logged."""

    @abstractmethod
    def close(self) -> None:
        """Ends the server and removes all that is left of it."""


class LocalServer(PostgresServer):
    """A server that runs from a folder of PostgreSQL programs on this machine."""

    def __init__(
        self,
        kind: LocalKind,
        settings: Mapping[str, str],
        *,
        primary: PostgresServer | None = None,
        another_system: bool = False,
    ) -> None:
        super().__init__()
        self.kind: LocalKind = kind
        binaries = local_binaries(kind)
        # Not in tmp_path: the user that PostgreSQL runs as must be able to enter.
        self._directory = Path(tempfile.mkdtemp(prefix="server-", dir=data_directory()))
        if primary is not None:
            self.password = primary.password
        elif not another_system:
            self.password = copy_cluster(kind, binaries, self._directory / "data")
        self._server = EmbeddedServer(
            self._directory,
            password=self.password,
            binaries=binaries,
            settings=settings,
            guard=run_guard(),
        )
        self.host = self._server.host
        if primary is not None:
            self._copy(primary)

    def start(self) -> None:
        self._server.start()
        self.port = self._server.port

    def stop(self, mode: StopMode = "fast") -> None:
        self._server.stop(mode)

    def kill(self) -> None:
        self._server.kill()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        return self._server.log_path.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        self.thaw()
        self._server.close()
        shutil.rmtree(self._directory)

    @property
    def data_directory(self) -> Path:
        """Where the server's files lie."""
        return self._server.data_directory

    def _copy(self, primary: PostgresServer) -> None:
        """Takes over the primary's data, to be its standby from the first start on."""
        user = unprivileged_user()
        self._directory.chmod(0o755)
        self.data_directory.mkdir(mode=0o700)
        if user is not None:
            shutil.chown(self.data_directory, user, primary_group(user))
        options = ["--checkpoint=fast", "--no-sync", f"--pgdata={self.data_directory}"]
        # The newest one copies older servers too. Its --write-recovery-conf would name connection
        # parameters that they do not know.
        subprocess.run(
            [local_binaries("embedded") / "pg_basebackup", *options, "--dbname", primary.dsn("")],
            check=True,
            cwd="/",
            user=user,
            group=primary_group(user) if user else None,
            extra_groups=[] if user else None,
        )
        (self.data_directory / "standby.signal").touch()

    def _signal(self, number: signal.Signals) -> None:
        postmaster = self._server.pid
        if postmaster is None:
            return
        # The postmaster first: stopped, it starts no further process that would be missed.
        os.kill(postmaster, number)
        for pid in children(postmaster):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class ContainerServer(PostgresServer):
    """A server in a container of the official image."""

    def __init__(self, image: str, settings: Mapping[str, str]) -> None:
        super().__init__()
        # Imported late: it looks for an engine, and nothing else needs one.
        from testcontainers.community.postgres import PostgresContainer
        from testcontainers.core.config import testcontainers_config

        # Its reaper is one more image from a registry; docker.remove_leftovers does its work here.
        testcontainers_config.ryuk_disabled = True
        # A port chosen here: one chosen by the engine changes with every restart of the container.
        self.port = free_port()
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        key, _, value = docker.run_label().partition("=")
        self._container = (
            # The database of that name is there in any case: no other is made.
            PostgresContainer(
                image, username=self.superuser, password=self.password, dbname="postgres", driver=None
            )
            .with_bind_ports(5432, self.port)
            .with_command(options)
            .with_kwargs(labels={key: value})
        )
        self._exists = False
        self._admits_replication = False
        self._is_frozen = False

    def start(self) -> None:
        if self._exists:
            self._container.get_wrapped_container().start()
        else:
            self._exists = True
            self._container.start()
        self.host = self._container.get_container_host_ip()

        def answers() -> bool | None:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                return None
            return True

        wait_for("an answer of the container's server", answers)
        if not self._admits_replication:
            self._admit_replication()
            quicken_password(self.dsn(), self.superuser, self.password)

    def stop(self, mode: StopMode = "fast") -> None:
        self._end(STOP_SIGNALS[mode])

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        self._container.get_wrapped_container().pause()
        self._is_frozen = True

    def thaw(self) -> None:
        if self._is_frozen:
            self._container.get_wrapped_container().unpause()
            self._is_frozen = False

    def log(self) -> str:
        return b"".join(self._container.get_logs()).decode(errors="replace")

    def close(self) -> None:
        self.thaw()
        self._container.stop()

    @property
    def container_id(self) -> str:
        """The container's id, as the docker command takes it."""
        return str(self._container.get_wrapped_container().id)

    def _admit_replication(self) -> None:
        """Lets base backups in from outside, which the image's own pg_hba.conf does not."""
        line = "host replication all all scram-sha-256"
        command = ["sh", "-c", f'echo "{line}" >> "$PGDATA/pg_hba.conf"']
        result = self._container.get_wrapped_container().exec_run(command)
        assert result.exit_code == 0, result.output
        self.execute("SELECT pg_reload_conf()")
        self._admits_replication = True

    def _end(self, number: signal.Signals) -> None:
        container = self._container.get_wrapped_container()
        container.kill(signal=number.name)
        container.wait()


@functools.cache
def local_binaries(kind: LocalKind) -> Path:
    """The folder of PostgreSQL programs, copied once where the user they run as may not enter it."""
    if kind == "18":
        return local_binaries("embedded")
    if kind == "embedded":
        source = find_binaries()
    elif kind == "debian":
        source = find_debian_binaries()
    else:
        source = find_version_binaries(kind)
    directory = shared_directory() / f"postgresql-{kind}"
    with shared_lock(directory.name):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
        return reachable_binaries(source, directory, unprivileged_user())


def make_server(
    kind: Kind, settings: Mapping[str, str] | None = None, *, another_system: bool = False
) -> PostgresServer:
    """A started server of that kind; `settings` go on top of those all test servers have.

    The servers of a version have one system identifier, unless `another_system` is wanted.
    A kind whose programs or image are missing skips the test, or fails it in CI.
    """
    merged = {
        **SETTINGS,
        **(QUICK_PASSWORDS if kind in KINDS_WITH_QUICK_PASSWORDS else {}),
        **(settings or {}),
    }
    server: PostgresServer
    if kind == "container":
        require_docker(CONTAINER_IMAGE)
        server = ContainerServer(CONTAINER_IMAGE, merged)
    else:
        server = LocalServer(kind, merged, another_system=another_system)
    _start(server)
    return server


def make_standby(primary: PostgresServer, settings: Mapping[str, str] | None = None) -> PostgresServer:
    """A started standby that streams from `primary`; `wait_for_replay` waits until it has caught up.

    Skips the test where the primary's programs are not on this machine.
    """
    if not isinstance(primary, LocalServer):
        pytest.skip("a standby is made from programs on this machine: not with --postgres container")
    streaming = {"primary_conninfo": primary.dsn(""), "wal_retrieve_retry_interval": "100ms"}
    merged = {**SETTINGS, **SMALL, **streaming, **(settings or {})}
    standby = LocalServer(primary.kind, merged, primary=primary)
    _start(standby)
    return standby


def wait_for_replay(primary: PostgresServer, standby: PostgresServer) -> None:
    """Returns when the standby shows everything that the primary has committed."""
    ((written,),) = primary.execute("SELECT pg_current_wal_lsn()")

    def replayed() -> bool | None:
        query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        return True if standby.execute(query, params=[written]) == [(True,)] else None

    wait_for(f"{written} on the standby", replayed)


def _start(server: PostgresServer) -> None:
    try:
        server.start()
    except BaseException:
        server.close()
        raise
