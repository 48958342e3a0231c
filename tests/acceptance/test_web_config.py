"""`serve --web.config.file`: Prometheus with TLS, client certificates and passwords; no secret is logged."""

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import bcrypt
import httpx
import pytest
import yaml

from exporter.metrics.web.healthcheck import check_health
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.services import ask, start
from tests.support.tools import find_tool
from tests.support.waiting import wait_for

PASSWORD = "c4n4ry-password"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode().replace("$2b$", "$2y$")
CONFIG = f"""\
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_ca_file: ca.pem
  client_auth_type: {{client_auth_type}}
basic_auth_users:
  prometheus: {HASH}
"""
# Nothing listens there: the exporter reports it, and is scraped nevertheless.
DSN = "host=127.0.0.1 port=1 user=app dbname=nova password=c4n4ry-dsn"
STOP_SECONDS = 60


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.issue("server", "localhost", "127.0.0.1")
    made.issue("prometheus", "prometheus.example")
    return made


def write(authority: Authority, client_auth_type: str = "RequireAndVerifyClientCert") -> Path:
    path = authority.folder / "web.yml"
    path.write_text(CONFIG.format(client_auth_type=client_auth_type))
    return path


def command(name: str, address: str, file: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "exporter", name, "--web.listen-address", address),
        *("--web.config.file", str(file)),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PG_INDEX_EXPORTER_DSN": DSN, "PG_INDEX_EXPORTER_CONNECT_TIMEOUT_SECONDS": "1"}


@contextmanager
def serving(file: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process of `serve`, and its address, once it answers."""
    address = f"127.0.0.1:{free_port()}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command("serve", address, file), "--log.level", "debug"],
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for("the exporter", lambda: check_health(address, web_config_file=file) or None)
        yield process, address
    finally:
        process.kill()
        process.wait()


def trusting(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(authority.folder / "prometheus.pem", authority.folder / "prometheus.key")
    return context


def job(
    authority: Authority, name: str, address: str, *, password: str = PASSWORD, has_certificate: bool = True
) -> dict[str, object]:
    """A scrape job of Prometheus' configuration."""
    tls = {"ca_file": str(authority.file)}
    if has_certificate:
        tls["cert_file"] = str(authority.folder / "prometheus.pem")
        tls["key_file"] = str(authority.folder / "prometheus.key")
    return {
        "job_name": name,
        "scheme": "https",
        "tls_config": tls,
        "basic_auth": {"username": "prometheus", "password": password},
        "static_configs": [{"targets": [address]}],
    }


def test_prometheus_scrapes_with_its_certificate_and_password(authority: Authority, tmp_path: Path) -> None:
    log = tmp_path / "exporter.log"
    with ExitStack() as stack:
        _, address = stack.enter_context(serving(write(authority), log))
        config = tmp_path / "prometheus.yml"
        jobs = [
            job(authority, "right", address),
            job(authority, "wrong_password", address, password="c4n4ry-wrong"),
            job(authority, "no_certificate", address, has_certificate=False),
        ]
        config.write_text(
            yaml.safe_dump(
                {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
            )
        )
        prometheus = start(
            stack,
            tmp_path,
            "prometheus",
            *(find_tool("prometheus"), f"--config.file={config}"),
            *(f"--storage.tsdb.path={tmp_path / 'data'}", "--web.listen-address={address}"),
        )

        def up() -> dict[str, str] | None:
            found = {sample["metric"]["job"]: sample["value"][1] for sample in ask(prometheus, "up")}
            return found if len(found) == len(jobs) and found["right"] == "1" else None

        assert wait_for("the scrapes", up) == {"right": "1", "wrong_password": "0", "no_certificate": "0"}
        # A whole page came, and it says of the database what it should.
        (sample,) = ask(prometheus, "pg_index_exporter_target_up")
        assert (sample["metric"]["job"], sample["value"][1]) == ("right", "0")

    said = log.read_text()
    assert "url=https://127.0.0.1:" in said
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in said
    assert 'msg="wrong user or password"' in said
    for secret in ("c4n4ry", HASH, "PRIVATE KEY"):
        assert secret not in said


def test_certificate_and_users_change_while_it_runs(authority: Authority, tmp_path: Path) -> None:
    log = tmp_path / "exporter.log"
    file = write(authority, "VerifyClientCertIfGiven")
    with (
        serving(file, log) as (process, address),
        httpx.Client(verify=trusting(authority), timeout=60) as client,
    ):
        url = f"https://{address}/"
        assert client.get(url).status_code == 401
        assert client.get(url, auth=("prometheus", PASSWORD)).status_code == 200

        file.write_text(file.read_text().replace(HASH, HASH[:-1]))

        def is_fault_told() -> bool | None:
            # The files are checked at a request.
            client.get(url)
            return "last valid one stays" in log.read_text() or None

        wait_for("the fault", is_fault_told)
        assert client.get(url, auth=("prometheus", PASSWORD)).status_code == 200

        changed = bcrypt.hashpw(b"changed", bcrypt.gensalt(4)).decode()
        file.write_text(file.read_text().replace(HASH[:-1], changed))
        authority.issue("server", "127.0.0.1")

        def is_changed() -> bool | None:
            return client.get(url, auth=("prometheus", "changed")).status_code == 200 or None

        wait_for("the change", is_changed)
        assert client.get(url, auth=("prometheus", PASSWORD)).status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0

    said = log.read_text()
    assert said.count("last valid one stays") == 1
    assert "web configuration reloaded" in said
    assert "Traceback" not in said
    assert HASH[7:] not in said


@pytest.mark.parametrize("client_auth_type", ["NoClientCert", "RequireAndVerifyClientCert"])
def test_the_health_check_of_the_command_line(
    authority: Authority, tmp_path: Path, client_auth_type: str
) -> None:
    file = write(authority, client_auth_type)
    if client_auth_type == "NoClientCert":
        file.write_text(file.read_text().replace("  client_ca_file: ca.pem\n", ""))
    with serving(file, tmp_path / "log") as (_, address):
        health = command("healthcheck", address, file)
        assert subprocess.run(health, env=environment(), check=False).returncode == 0
    assert subprocess.run(health, env=environment(), check=False).returncode == 1


def test_faults_of_the_file_are_said_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("basic_auth_users:\n  prometheus: c4n4ry\ntls_server_config:\n  cert_file: nowhere.pem\n")

    done = subprocess.run(
        command("serve", "127.0.0.1:0", file),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=STOP_SECONDS,
    )

    assert done.returncode == 2
    assert "the web configuration has 2 faults" in done.stderr
    assert f"{file}:2: the value of a user is not a bcrypt hash" in done.stderr
    assert f"{file}:3: tls_server_config lacks 'key_file'" in done.stderr
    assert "c4n4ry" not in done.stderr
    assert "Traceback" not in done.stderr
