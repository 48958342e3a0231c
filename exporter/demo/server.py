"""An embedded PostgreSQL server: create, start, stop and kill it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psycopg
from psycopg.conninfo import make_conninfo

from exporter.demo.guard import Guard, primary_group
from exporter.demo.installation import find_binaries, reachable_binaries, unprivileged_user
from exporter.demo.processes import LOOPBACK, children, free_port, is_free, is_running
from exporter.errors import TargetError, TargetUnreachable

__all__ = ["EmbeddedServer", "find_binaries"]

StopMode = Literal["smart", "fast", "immediate"]
STOP_SIGNALS: Mapping[str, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 60.0
LOG_TAIL_LINES = 15
# Both are temporary: the first on another port, the second until the killed server's backends end.
ADDRESS_IN_USE = "Address already in use"
STILL_IN_USE = "is still in use"


class EmbeddedServer:
    """A PostgreSQL server in `directory`, on a loopback port, with one superuser and a password.

    It keeps its data over stop and start. The server never outlives this process; with `disposable` the
    directory does not either.
    """

    host = LOOPBACK
    superuser = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        password: str,
        port: int | None = None,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        guard: Guard | None = None,
        disposable: bool = False,
    ) -> None:
        self.directory = directory
        self.log_path = directory / "server.log"
        self.data_directory = directory / "data"
        self._password = password
        self._fixed_port = port
        self._port = port
        self._binaries = binaries
        self._settings = dict(settings or {})
        self._own_guard = guard is None
        self._guard = guard
        self._disposable = disposable
        self._user = unprivileged_user()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The TCP port. Raises: TargetUnreachable before the first start on a free port."""
        if self._port is None:
            raise TargetUnreachable("the server has no port yet", hint="call start() first")
        return self._port

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster, None if it is not running."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def dsn(self, dbname: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """Return the conninfo of a database, as the superuser with its password by default."""
        if user in (None, self.superuser) and password is None:
            password = self._password
        return make_conninfo(
            host=self.host,
            port=self.port,
            dbname=dbname,
            user=user or self.superuser,
            **({} if password is None else {"password": password}),
        )

    def start(self) -> None:
        """Create the data directory if needed, and start; ready for connections on return.

        Raises: TargetError with the end of the server log.
        """
        if self.pid is not None:
            return
        binaries = self._prepare()
        if not (self.data_directory / "PG_VERSION").exists():
            self._initdb(binaries)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._try_start(binaries, deadline):
            time.sleep(0.1)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop and wait; use a stronger signal if it does not stop in time."""
        process = self._process
        if process is None:
            return
        # A stopped postmaster (SIGSTOP) handles no other signal.
        for signum in (STOP_SIGNALS[mode], signal.SIGQUIT):
            for sent in (signum, signal.SIGCONT):
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(sent)
            try:
                process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            self._forget(process)
            return
        self.kill()

    def kill(self) -> None:
        """Kill the postmaster and wait until its backends have ended."""
        process = self._process
        if process is None:
            return
        backends = children(process.pid)
        process.kill()
        process.wait()
        self._forget(process)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while (backends := [pid for pid in backends if is_running(pid)]) and (time.monotonic() < deadline):
            time.sleep(0.02)
        for pid in backends:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """Return the last lines of the server log."""
        if not self.log_path.exists():
            return ""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        """Stop the server and its guard, and remove a disposable directory."""
        try:
            self.stop()
        finally:
            if self._own_guard and self._guard is not None:
                self._guard.close()
                self._guard = None
            if self._disposable:
                shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _prepare(self) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._guard is None:
            self._guard = Guard()
            if self._disposable:
                self._guard.remove(self.directory)
        if self._user is not None:
            # The server runs as another user, which must enter the directory and own the data.
            self.directory.chmod(0o755)
        return reachable_binaries(self._binaries or find_binaries(), self.directory, self._user)

    def _initdb(self, binaries: Path) -> None:
        # An interrupted initdb leaves a directory that the next one refuses.
        shutil.rmtree(self.data_directory, ignore_errors=True)
        self.data_directory.mkdir(mode=0o700)
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password + "\n", encoding="utf-8")
        try:
            if self._user is not None:
                for path in (self.data_directory, password_file):
                    shutil.chown(path, self._user, primary_group(self._user))
            self._run_initdb(binaries, password_file)
        finally:
            password_file.unlink()
        with (self.data_directory / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write("include = 'embedded.conf'\n")

    def _run_initdb(self, binaries: Path, password_file: Path) -> None:
        command = [
            str(binaries / "initdb"),
            f"--pgdata={self.data_directory}",
            f"--username={self.superuser}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        guard = self._running_guard()
        with self.log_path.open("ab") as log:
            process = guard.spawn(
                command, output=log, cwd=self.directory, env=_environment(), user=self._user
            )
            try:
                status = process.wait()
            finally:
                guard.stop(process)
        if status:
            raise TargetError(
                f"initdb failed with status {status}; its output ends with:\n{self.log_tail()}",
                hint=f"read {self.log_path}; check that {self._user or 'this user'} can write to "
                f"{self.directory}",
            )

    def _write_conf(self) -> None:
        settings = {
            "listen_addresses": self.host,
            "port": str(self._port),
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            **self._settings,
        }
        lines = [f"{name} = '{_quoted(value)}'" for name, value in settings.items()]
        conf = self.data_directory / "embedded.conf"
        conf.write_text("\n".join(lines) + "\n", encoding="utf-8")
        conf.chmod(0o644)

    def _try_start(self, binaries: Path, deadline: float) -> bool:
        """Return True if it accepts connections, False if a retry can help."""
        if self._fixed_port is None:
            self._port = self._port if self._port and is_free(self._port) else free_port()
        self._write_conf()
        log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self._process = self._running_guard().spawn(
                [str(binaries / "postgres"), "-D", str(self.data_directory)],
                stop_signal=signal.SIGINT,
                output=log,
                cwd=self.directory,
                env=_environment(),
                user=self._user,
            )
        process = self._process
        while process.poll() is None:
            if self._accepts_connections():
                return True
            if time.monotonic() > deadline:
                self.stop("immediate")
                raise self._failed_start("did not accept connections in time")
            time.sleep(0.05)
        self._forget(process)
        with self.log_path.open("rb") as log:
            log.seek(log_start)
            output = log.read().decode(errors="replace")
        is_temporary = (ADDRESS_IN_USE in output and self._fixed_port is None) or STILL_IN_USE in output
        if is_temporary and time.monotonic() < deadline:
            return False
        raise self._failed_start(f"ended with status {process.returncode}")

    def _accepts_connections(self) -> bool:
        try:
            with psycopg.connect(self.dsn(), connect_timeout=2) as connection:
                row = connection.execute("SELECT current_setting('data_directory')").fetchone()
        except psycopg.OperationalError:
            return False
        # If another server has the port, it answers until ours gives up.
        return row is not None and Path(row[0]).samefile(self.data_directory)

    def _failed_start(self, what: str) -> TargetError:
        return TargetError(
            f"PostgreSQL on port {self._port} {what}; its log ends with:\n{self.log_tail()}",
            hint=f"read {self.log_path}; check that the port is free and the directory belongs to "
            f"{self._user or 'this user'}",
        )

    def _running_guard(self) -> Guard:
        if self._guard is None:
            raise TargetError("the server was closed", hint="create a new one")
        return self._guard

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        if self._guard is not None:
            self._guard.forget(process.pid)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _environment() -> dict[str, str]:
    # PGDATA, PGPORT and the like of the caller belong to another server.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}
