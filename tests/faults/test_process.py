"""The exporter as a process: its start, its messages, and its end."""

import json
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from exporter.metrics.web.healthcheck import check_health
from tests.conftest import OwnServer, TestDatabase
from tests.faults.scraping import scrape
from tests.faults.serving import serve
from tests.support.certificates import Authority
from tests.support.tools import find_tool
from tests.support.waiting import wait_for

STOP_SECONDS = 60
ATTEMPTS = 10


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_success(database: TestDatabase, tmp_path: Path, signum: int) -> None:
    log = tmp_path / "log"
    with serve(database.dsn, log, "--watch", "all") as (process, url):
        assert scrape(url).target_up == 1
        process.send_signal(signum)
        status = process.wait(STOP_SECONDS)

    said = log.read_text()
    assert status == 0
    assert f"msg=listening url={url}" in said
    assert "msg=stopping" in said
    assert "Traceback" not in said
    ours = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'pg-index-exporter'"
    )
    wait_for("the disconnect", lambda: database.execute(ours, [database.name]) == [(0,)] or None)


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_signal_in_mid_scrape_cuts_it_and_stops(
    own_server: OwnServer, tmp_path: Path, is_connected: bool
) -> None:
    server = own_server()
    log = tmp_path / "log"
    arguments = ("--scrape-timeout-seconds", "3000", "--watch", "all", "--log.level", "debug")
    with serve(server.dsn(), log, *arguments) as (process, url), ThreadPoolExecutor(1) as scraper:
        if is_connected:
            scrape(url)
        server.freeze()
        answer = scraper.submit(scrape, url)
        # The scrape is under way once its connection is there.
        wait_for("the scrape", lambda: _connections_to(process.pid, url) or None)
        process.send_signal(signal.SIGTERM)
        status = process.wait(STOP_SECONDS)
        server.thaw()
        cut = answer.result(STOP_SECONDS)

    assert status == 0
    assert (cut.status_code, cut.target_up) == (200, 0)
    assert "Traceback" not in log.read_text()


# Every state of a connection: what a client has sent, and what it then does not go on with.
STUCK = {
    "silent": b"",
    "in the head": b"GET /-/hea",
    "in the body": b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 5\r\n\r\nab",
    "in chunks": b"POST / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "waiting for its answer": b"GET /metrics HTTP/1.1\r\nHost: e\r\n\r\n",
    "idle after an answer": b"GET /-/healthy HTTP/1.1\r\nHost: e\r\n\r\n",
    "not reading": b"GET /-/healthy HTTP/1.1\r\nHost: e\r\n\r\n" * 20_000,
    "not reading, waiting for its answer": b"GET /metrics HTTP/1.1\r\nHost: e\r\n\r\n" * 20_000,
}
# A password of such a cost takes seconds to verify.
USERS = f"basic_auth_users: {{alice: $2b$16${'.' * 22}{'x' * 31}}}\n"
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"
PASSWORD = b"Authorization: Basic YWxpY2U6d3Jvbmc=\r\n\r\n"


@pytest.mark.parametrize("web_config", ["{}\n", TLS, TLS + USERS], ids=["plain", "tls", "users"])
def test_connections_stuck_in_every_state_do_not_hold_the_stop(tmp_path: Path, web_config: str) -> None:
    Authority(tmp_path).issue("server", "localhost")
    config = tmp_path / "web.yml"
    config.write_text(web_config)
    log = tmp_path / "log"
    with ExitStack() as stack:
        # A database that is connected to and never says anything.
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        dsn = f"host=127.0.0.1 port={deaf.getsockname()[1]} user=app dbname=nova sslmode=disable"
        arguments = (
            *("--scrape-timeout-seconds", "3000", "--connect-timeout-seconds", "600"),
            *("--web.config.file", str(config)),
        )
        process, url = stack.enter_context(serve(dsn, log, *arguments, web_config_file=config))
        # The server drops some after seconds: on a busy machine the first is gone before the last has come.
        for attempt in range(1, ATTEMPTS + 1):
            clients = stack.enter_context(ExitStack())
            _get_stuck(clients, int(url.rpartition(":")[2]), web_config)
            try:
                wait_for(
                    "the connections",
                    lambda: _connections_to(process.pid, url) >= len(STUCK) or None,
                    timeout_seconds=2,
                )
                break
            except AssertionError:
                if attempt == ATTEMPTS:
                    raise
                clients.close()

        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0

    said = log.read_text()
    assert "msg=stopping" in said
    assert "Traceback" not in said


def _get_stuck(clients: ExitStack, port: int, web_config: str) -> None:
    """A connection in each state, all at the same time."""

    def get_stuck(state: str) -> socket.socket:
        client = _connected(port, is_secured=TLS in web_config)
        data = STUCK[state].replace(b"\r\n\r\n", b"\r\n" + PASSWORD) if USERS in web_config else STUCK[state]
        client.settimeout(1)
        with suppress(TimeoutError):  # the server has stopped reading
            client.sendall(data)
        if state == "idle after an answer":
            client.settimeout(STOP_SECONDS)
            assert client.recv(4096)
        return client

    with ThreadPoolExecutor(len(STUCK)) as threads:
        for client in threads.map(get_stuck, STUCK):
            clients.enter_context(client)
    for sent in (b"", b"\x16\x03\x01"):
        clients.enter_context(_connected(port, is_secured=False)).sendall(sent)


def _connected(port: int, *, is_secured: bool) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(STOP_SECONDS)
    client.connect(("127.0.0.1", port))
    if is_secured:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = context.wrap_socket(client)
    client.settimeout(0.2)
    return client


@pytest.mark.parametrize("web_config", ["{}\n", TLS], ids=["plain", "tls"])
def test_many_clients_that_ask_on_and_never_read_cost_little_memory(tmp_path: Path, web_config: str) -> None:
    Authority(tmp_path).issue("server", "localhost")
    config = tmp_path / "web.yml"
    config.write_text(web_config)
    dsn = "host=127.0.0.1 port=1 user=app dbname=nova"
    arguments = ("--web.config.file", str(config))
    with ExitStack() as stack:
        process, url = stack.enter_context(serve(dsn, tmp_path / "log", *arguments, web_config_file=config))
        before = _most_resident_bytes(process.pid)
        for _ in range(200):
            port = int(url.rpartition(":")[2])
            client = stack.enter_context(_connected(port, is_secured=web_config == TLS))
            client.settimeout(0.01)
            with suppress(OSError):  # it is dropped, or the server has stopped reading
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: e\r\n\r\n" * 10_000)
        address = f"127.0.0.1:{port}"
        wait_for("its health", lambda: check_health(address, web_config_file=config) or None)
        after = _most_resident_bytes(process.pid)

    # 128 MiB are what a container has; 512 connections at most are open.
    assert (after - before) / 200 * 512 < 64 * 1024**2


def _most_resident_bytes(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024


HANGING = """
import asyncio, signal, os, threading
from exporter.metrics.web import server
server.EXIT_SECONDS = 1.0

async def hang():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def main():
    hanging = asyncio.create_task(hang())
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    await server.serve_until_signal(None, server.listen("127.0.0.1:0"), on_stop=lambda: None)

asyncio.run(main())
"""


def test_the_process_ends_whatever_hangs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, check=False, timeout=STOP_SECONDS
    )

    assert done.returncode == -signal.SIGALRM
    assert "Timeout" in done.stderr
    assert "_cancel_all_tasks" in done.stderr


def _connections_to(pid: int, url: str) -> int:
    """How many connections the process has accepted on its port."""
    port = f"{int(url.rpartition(':')[2]):04X}"
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    established = "01"
    return sum(
        fields[1].endswith(f":{port}") and fields[3] == established
        for fields in (line.split() for line in lines)
    )


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_state_is_logged_once_and_a_collection_at_debug(
    database: TestDatabase, tmp_path: Path, level: str, log_format: str
) -> None:
    log = tmp_path / "log"
    arguments = ("--watch", "all", "--log.level", level, "--log.format", log_format)
    with serve(database.dsn, log, *arguments) as (process, url):
        for _ in range(3):
            # The extension is missing.
            assert scrape(url).failed == {"statements"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0

    lines = [entries(line, log_format) for line in log.read_text().splitlines()]
    said = [line["msg"] for line in lines if line["logger"].startswith("exporter")]
    assert all({"time", "level", "logger", "msg"} <= line.keys() for line in lines)
    assert {line["level"] for line in lines if line["msg"] == "collected"} <= {"debug"}
    assert said.count("collected") == (3 if level == "debug" else 0)
    assert [(line["level"], line["collector"]) for line in lines if "collector" in line] == [
        ("warning", "statements")
    ]
    if level == "info":
        assert said == ["listening", "collector failed", "stopping"]


def entries(line: str, log_format: str) -> dict[str, str]:
    """The keys and values of a line of the log."""
    if log_format == "json":
        found: dict[str, str] = json.loads(line)
        return found
    return dict(word.split("=", 1) for word in shlex.split(line))


def test_promtool_has_no_complaint_about_a_real_page(database: TestDatabase, tmp_path: Path) -> None:
    database.execute("CREATE EXTENSION pg_stat_statements")
    database.execute("CREATE TABLE messages (id int PRIMARY KEY)")
    database.execute("INSERT INTO messages VALUES (1)")
    with serve(database.dsn, tmp_path / "log", "--watch", "all") as (_, url):
        answer = scrape(url)
    checked = subprocess.run(
        [find_tool("promtool"), "check", "metrics"],
        input=answer.text,
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.value("pg_stat_user_tables_n_tup_ins_total") == 1
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_port_in_use_is_said_plainly(database: TestDatabase, tmp_path: Path) -> None:
    with serve(database.dsn, tmp_path / "log") as (_, url):
        port = url.rpartition(":")[2]
        second = subprocess.run(
            [sys.executable, "-m", "exporter", "serve", "--web.listen-address", f"127.0.0.1:{port}"],
            env={**os.environ, "PG_INDEX_EXPORTER_DSN": database.dsn},
            capture_output=True,
            text=True,
            check=False,
        )

    assert second.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: another program listens there" in second.stderr
    assert "--web.listen-address" in second.stderr
    assert "Traceback" not in second.stderr


def test_it_starts_and_is_healthy_without_its_database(tmp_path: Path) -> None:
    log = tmp_path / "log"
    dsn = "host=127.0.0.1 port=1 user=app password=canary-hunter2 dbname=nova"
    with serve(dsn, log, "--log.level", "debug", "--log.format", "json") as (process, url):
        answer = scrape(url)
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0

    assert (answer.status_code, answer.target_up) == (200, 0)
    assert "database does not answer" in log.read_text()
    assert "canary" not in log.read_text() + answer.text
