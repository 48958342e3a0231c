"""Prometheus and Alertmanager of this machine, started with the bundled rules."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from exporter import bundled
from exporter.demo.guard import Guard
from exporter.demo.processes import LOOPBACK, free_port, is_free
from exporter.errors import TargetUnreachable

# What the rules of alerts/ know the exporter's scrape job by.
JOB = "pg-index-exporter"
PROMETHEUS_PORT = 9090
ALERTMANAGER_PORT = 9093
SCRAPE_INTERVAL = "5s"
READY_TIMEOUT_SECONDS = 30.0
LOG_TAIL_LINES = 8
# Everything here is on the loopback address: a proxy of the environment would be asked for nothing.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Service:
    """A started program with an HTTP address of its own."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log_path: Path

    def raise_if_ended(self) -> None:
        """Raises: TargetUnreachable with the end of its log when the program is no longer there."""
        status = self.process.poll()
        if status is not None:
            raise TargetUnreachable(
                f"{self.name} ended with status {status}; its log ends with:\n{self.log_tail()}",
                hint="start the demo again; if it happens again, report it with these lines",
            )

    def log_tail(self) -> str:
        """The last lines that the program wrote."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])

    def wait_until_ready(self) -> None:
        """Return once the program says that it is ready.

        Raises: TargetUnreachable when it ends or does not get there in time.
        """
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while True:
            self.raise_if_ended()
            try:
                fetch(f"{self.url}/-/ready")
            except OSError as error:
                if time.monotonic() > deadline:
                    raise TargetUnreachable(
                        f"{self.name} does not say at {self.url}/-/ready that it is ready; "
                        f"its log ends with:\n{self.log_tail()}",
                        hint="look whether the machine is very busy, and start the demo again",
                    ) from error
                time.sleep(0.1)
            else:
                return


def fetch(url: str) -> str:
    """The body of a page. Raises: OSError, also for an answer of 400 and above."""
    with _opener.open(url, timeout=5) as response:
        body: bytes = response.read()
    return body.decode("utf-8")


def find_program(names: Sequence[str]) -> str | None:
    """The path of the first of the programs that is on PATH."""
    return next((path for name in names if (path := shutil.which(name))), None)


def start_service(
    guard: Guard,
    name: str,
    command: Sequence[str],
    *,
    url: str,
    log_path: Path,
    env: Mapping[str, str] | None = None,
) -> Service:
    """The started program, which may not be ready yet; its output goes to `log_path`."""
    with log_path.open("ab") as log:
        process = guard.spawn(command, output=log, env=env)
    return Service(name, url, process, log_path)


def start_alertmanager(guard: Guard, directory: Path) -> Service | None:
    """Alertmanager on a loopback port; None when the machine has none."""
    program = find_program(("alertmanager", "prometheus-alertmanager"))
    if program is None:
        return None
    config = directory / "alertmanager.yml"
    # A receiver without a destination: alerts are to be seen on its page, nobody is paged.
    _write_yaml(config, {"route": {"receiver": "page"}, "receivers": [{"name": "page"}]})
    address = _address(ALERTMANAGER_PORT)
    command = (
        program,
        f"--config.file={config}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    )
    return start_service(
        guard, "Alertmanager", command, url=f"http://{address}", log_path=directory / "alertmanager.log"
    )


def start_prometheus(
    guard: Guard, directory: Path, *, exporter_address: str, alertmanager: Service | None
) -> Service | None:
    """Prometheus on a loopback port, scraping the exporter; None when the machine has none."""
    program = find_program(("prometheus",))
    if program is None:
        return None
    config = directory / "prometheus.yml"
    _write_yaml(config, prometheus_config(exporter_address, alertmanager.url if alertmanager else None))
    address = _address(PROMETHEUS_PORT)
    command = (
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        f"--web.listen-address={address}",
    )
    return start_service(
        guard, "Prometheus", command, url=f"http://{address}", log_path=directory / "prometheus.log"
    )


def prometheus_config(exporter_address: str, alertmanager_url: str | None) -> dict[str, object]:
    """Prometheus' configuration: the bundled rules and one scrape job."""
    config: dict[str, object] = {
        "global": {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL},
        "rule_files": [str(bundled.path("alerts") / "rules" / "*.rules.yml")],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [exporter_address]}]}],
    }
    if alertmanager_url is not None:
        targets = [alertmanager_url.removeprefix("http://")]
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": targets}]}]}
    return config


def _address(usual_port: int) -> str:
    port = usual_port if is_free(usual_port) else free_port()
    return f"{LOOPBACK}:{port}"


def _write_yaml(path: Path, content: dict[str, object]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
