"""Prometheus and Alertmanager of this machine, started with the bundled rules."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from exporter import bundled
from exporter.demo.guard import Guard
from exporter.demo.processes import LOOPBACK, free_port, is_free
from exporter.errors import TargetUnreachable

# The scrape job that the rules of alerts/ select.
JOB = "pg-index-exporter"
PROMETHEUS_PORT = 9090
ALERTMANAGER_PORT = 9093
SCRAPE_INTERVAL = "5s"
READY_TIMEOUT_SECONDS = 30.0
LOG_TAIL_LINES = 8
# All addresses are loopback; a proxy of the environment must not be used.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Service:
    """A started program with an HTTP address."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log_path: Path

    def raise_if_ended(self) -> None:
        """Raises: TargetUnreachable with the end of its log if the program has ended."""
        status = self.process.poll()
        if status is not None:
            raise TargetUnreachable(
                f"{self.name} ended with status {status}; its log ends with:\n{self.log_tail()}",
                hint="start the demo again; if it fails again, report it with these lines",
            )

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])

    def wait_until_ready(self) -> None:
        """Return when the program is ready.

        Raises: TargetUnreachable if it ends or is not ready in time.
        """
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while True:
            self.raise_if_ended()
            try:
                fetch(f"{self.url}/-/ready")
            except OSError as error:
                if time.monotonic() > deadline:
                    raise TargetUnreachable(
                        f"{self.name} is not ready at {self.url}/-/ready; "
                        f"its log ends with:\n{self.log_tail()}",
                        hint="check the load of the machine, then start the demo again",
                    ) from error
                time.sleep(0.1)
            else:
                return


def fetch(url: str) -> str:
    """Return the body of a page. Raises: OSError, also for a status of 400 and above."""
    try:
        with _opener.open(url, timeout=5) as response:
            body: bytes = response.read()
    except urllib.error.HTTPError as error:
        # It holds the answer open.
        error.close()
        raise
    return body.decode("utf-8")


def find_program(names: Sequence[str]) -> str | None:
    """Return the path of the first of the programs in PATH, None without any."""
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
    """Start the program, with its output in `log_path`; it may not be ready yet."""
    with log_path.open("ab") as log:
        process = guard.spawn(command, output=log, env=env)
    return Service(name, url, process, log_path)


def start_alertmanager(guard: Guard, directory: Path) -> Service | None:
    """Start Alertmanager on a loopback port; None if it is not installed."""
    program = find_program(("alertmanager", "prometheus-alertmanager"))
    if program is None:
        return None
    config = directory / "alertmanager.yml"
    # A receiver without a destination: alerts are shown on its page only.
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
    """Start Prometheus on a loopback port, scraping the exporter; None if it is not installed."""
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
    """Return the configuration of Prometheus: the bundled rules and one scrape job."""
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
