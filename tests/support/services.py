"""The programs around PostgreSQL, started for a test and stopped with it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from psycopg import conninfo

from exporter.demo.monitoring import JOB, Service, fetch, prometheus_config, start_service
from exporter.demo.processes import LOOPBACK
from tests.conftest import TestDatabase
from tests.support.ports import free_port
from tests.support.run_directory import run_guard
from tests.support.tools import find_tool

CHECKOUT = Path(__file__).resolve().parents[2]


def start(stack: ExitStack, directory: Path, name: str, *command: str | Path, **env: str) -> Service:
    """The started and ready program; `{address}` in its command becomes its own."""
    address = f"{LOOPBACK}:{free_port()}"
    guard = run_guard()
    service = start_service(
        guard,
        name,
        [str(word).replace("{address}", address) for word in command],
        url=f"http://{address}",
        log_path=directory / f"{name}.log",
        env={**os.environ, **env},
    )
    stack.callback(guard.stop, service.process)
    service.wait_until_ready()
    return service


def start_exporter(stack: ExitStack, directory: Path, dsn: str, manifest: Path) -> Service:
    """`serve` on the database of `dsn`, with one manifest."""
    return _start_exporter(stack, directory, "--manifest", manifest, PG_INDEX_EXPORTER_DSN=dsn)


def start_discovering_exporter(stack: ExitStack, directory: Path, dsn: str, manifest: Path) -> Service:
    """`serve` that finds the database of `dsn` by a pattern, with one manifest."""
    pattern = f"{conninfo.conninfo_to_dict(dsn)['dbname']}*"
    databases = [{"pattern": pattern, "manifests": [str(manifest)]}]
    target = {"name": "default", "dsn": dsn, "databases": databases}
    return start_exporter_of(stack, directory, {"targets": [target]})


def start_exporter_of(stack: ExitStack, directory: Path, settings: Mapping[str, object]) -> Service:
    """`serve` on a file of these settings."""
    path = directory / "settings.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return _start_exporter(stack, directory, "--config.file", path)


def _start_exporter(stack: ExitStack, directory: Path, *options: str | Path, **env: str) -> Service:
    command = (sys.executable, "-m", "exporter", "serve", "--web.listen-address", "{address}")
    return start(stack, directory, "exporter", *command, *options, **env)


def start_prometheus(
    stack: ExitStack,
    directory: Path,
    exporter: Service,
    *,
    interval: str,
    rules: Path,
    alertmanager: Service | None = None,
    discovers: bool = False,
) -> Service:
    """Prometheus with the demo's scrape job, scraping and evaluating `rules` at `interval`.

    One that `discovers` is told only where the exporter lists its targets.
    """
    config = prometheus_config(
        exporter.url.removeprefix("http://"), alertmanager.url if alertmanager is not None else None
    )
    if discovers:
        discovery = {"url": f"{exporter.url}/sd", "refresh_interval": interval}
        config["scrape_configs"] = [{"job_name": JOB, "http_sd_configs": [discovery]}]
    config |= {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": interval,
        },
        "rule_files": [str(rules)],
    }
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return start(
        stack,
        directory,
        "prometheus",
        *(find_tool("prometheus"), f"--config.file={path}"),
        f"--storage.tsdb.path={directory / 'prometheus'}",
        *("--web.listen-address={address}", "--rules.alert.resend-delay=1s"),
    )


def make_monitor_role(database: TestDatabase, tables: str) -> str:
    """The conninfo of the monitor role, made by its own script; `tables` as SQL writes an array of names."""
    given = conninfo.conninfo_to_dict(database.dsn)
    password = str(given.pop("password"))
    subprocess.run(
        [
            *(find_tool("psql"), "-X", "-q", "-d", conninfo.make_conninfo("", **given)),
            *("-v", f"tables={tables}", "-f", CHECKOUT / "deploy" / "sql" / "monitor.sql"),
        ],
        env={**os.environ, "PGPASSWORD": password},
        check=True,
    )
    database.execute("ALTER ROLE index_monitor PASSWORD 'throw-away'")
    return database.server.dsn(database.name, "index_monitor", "throw-away")


def ask(prometheus: Service, expr: str) -> list[dict[str, Any]]:
    """The series that an instant query returns."""
    answer = json.loads(fetch(f"{prometheus.url}/api/v1/query?{urlencode({'query': expr})}"))
    return list(answer["data"]["result"])
