"""The whole demo: load, workload, build the indexes, the same workload, serve.

It runs the commands `init` and `serve` as a user does.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from signal import SIGINT

import psycopg
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from exporter.demo import database, monitoring, nova
from exporter.demo.backup import make_backup
from exporter.demo.guard import Guard
from exporter.demo.options import DemoOptions, check_options
from exporter.demo.processes import LOOPBACK
from exporter.demo.screen import Screen
from exporter.demo.server import EmbeddedServer
from exporter.demo.signals import Interrupted, Interruptible, signals_deferred
from exporter.demo.workload import WorkloadResult, run_gently, run_workload
from exporter.errors import TargetError

MANIFEST = "090_quick_win_4_missing_indexes"
WORKLOAD_SECONDS = 5.0
SCANS = "pg_stat_user_indexes_idx_scan_total"


def run(arguments: argparse.Namespace) -> int:
    """Return the exit code of the demo with the parsed options."""
    return run_demo(
        DemoOptions(
            messages=arguments.messages,
            duration_seconds=arguments.duration,
            port=arguments.port,
            keep=arguments.keep,
            prometheus=not arguments.no_prometheus,
        )
    )


def run_demo(options: DemoOptions, console: Console | None = None) -> int:
    """Return 0, the exit code of a failed `init`, or 128 + the signal that ended the demo early."""
    screen = Screen(console or Console(highlight=False))
    check_options(options)
    with Interruptible() as interruptible, ExitStack() as stack:
        demo = _Demo(options, screen, stack)
        try:
            return demo.show()
        except Interrupted as interruption:
            # The last part runs until a signal: there it is the normal end.
            early = not demo.serving
            return 128 + interruption.signum if early else 0
        except psycopg.Error as error:
            raise demo.failure(error) from error
        finally:
            # Nothing may interrupt the clean-up by the stack.
            interruptible.settle()
            screen.line()
            screen.line(demo.farewell())


class _Demo:
    """What has been started; `stack` stops it in reverse order."""

    def __init__(self, options: DemoOptions, screen: Screen, stack: ExitStack) -> None:
        self.serving = False
        self._options = options
        self._screen = screen
        self._stack = stack
        self._size = nova.nova_size(messages=options.messages)
        self._guard = Guard()
        stack.callback(self._guard.close)
        self._directory = self._make_directory()
        self._server = EmbeddedServer(
            self._directory,
            password=os.urandom(18).hex(),
            settings=database.SETTINGS,
            guard=self._guard,
        )

    def show(self) -> int:
        """Show all parts; return the exit code."""
        dsns = self._load()
        self._screen.heading("The workload without the indexes")
        before = self._work(dsns)
        status = self._init(dsns)
        if status:
            return status
        self._screen.heading("The same workload with the indexes")
        after = self._work(dsns)
        self._screen.heading("Before and after")
        self._screen.comparison(before, after)
        self._watch(dsns)
        return 0

    def farewell(self) -> str:
        """Return the last line."""
        if self._options.keep is None or not self._server.data_directory.exists():
            return "Stopping. All processes end and all files are removed."
        return f"Stopping. The data is kept in {self._server.data_directory}"

    def failure(self, error: psycopg.Error) -> TargetError:
        """Return the error of the database with the log of the server and a hint."""
        log = self._server.log_tail()
        return TargetError(
            f"the demo's PostgreSQL failed: {str(error).strip()}\nits log ends with:\n{log}",
            hint=f"check the free space of {self._directory.parent}, then start the demo again",
        )

    def _make_directory(self) -> Path:
        keep = self._options.keep
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            return keep.resolve()
        with signals_deferred():
            directory = Path(tempfile.mkdtemp(prefix="nova-")).resolve()
            self._guard.remove(directory)
        return directory

    def _load(self) -> database.NovaDatabase:
        screen, size = self._screen, self._size
        screen.heading("Nova, a messaging app that lacks two indexes, on an embedded PostgreSQL")
        self._stack.callback(self._server.stop)
        self._server.start()
        dsns = database.create_database(self._server)
        with psycopg.connect(dsns.app_dsn, autocommit=True) as connection:
            version = connection.info.parameter_status("server_version")
            screen.line(f"PostgreSQL {version} at {LOOPBACK}:{self._server.port}, in {self._directory}")
            with screen.progress(
                "loading rows",
                f"{size.messages:,} messages and {size.posts:,} posts of {size.users:,} users loaded",
            ) as advance:
                nova.load(
                    connection,
                    messages=size.messages,
                    posts=size.posts,
                    users=size.users,
                    on_progress=advance,
                )
        return dsns

    def _work(self, dsns: database.NovaDatabase) -> WorkloadResult:
        with self._screen.progress("running the workload", "done") as advance:
            return run_workload(
                dsns.app_dsn,
                users=self._size.users,
                duration_seconds=WORKLOAD_SECONDS,
                on_progress=lambda passed: advance(passed, WORKLOAD_SECONDS),
            )

    def _init(self, dsns: database.NovaDatabase) -> int:
        backup_directory = self._directory / "backup"
        self._screen.heading("A base backup, which init will verify")
        with self._screen.progress("copying the server", "done"):
            program, *arguments = make_backup(self._server, self._guard, backup_directory)
        command = ("init", "--manifest", MANIFEST, "--yes")
        data_directory = ("--data-directory", str(self._server.data_directory))
        backup = [("--backup-command", word) for word in (Path(program).name, *arguments)]
        lines = [shlex.join(words) for words in (command, data_directory, *backup)]
        self._screen.heading(f"$ pg-index-exporter {lines[0]} \\")
        for line in lines[1:-1]:
            self._screen.line(f"    {line} \\")
        self._screen.line(f"    {lines[-1]}")
        environment = _environment(dsns.builder_dsn)
        environment["PATH"] = os.pathsep.join(
            [str(Path(program).parent), environment.get("PATH", os.defpath)]
        )
        process = self._guard.spawn(
            _product(*command, *data_directory, *(word for words in backup for word in words)),
            stop_signal=SIGINT,
            env=environment,
        )
        try:
            return process.wait()
        finally:
            self._guard.stop(process, SIGINT)
            shutil.rmtree(backup_directory, ignore_errors=True)

    def _watch(self, dsns: database.NovaDatabase) -> None:
        address = f"{LOOPBACK}:{self._options.port}"
        words = ("serve", "--manifest", MANIFEST, "--web.listen-address", address)
        # Two lines of at most 80 columns; a shell reads them as one.
        self._screen.heading(f"$ pg-index-exporter {shlex.join(words[:3])} \\")
        self._screen.line(f"    {shlex.join(words[3:])}")
        exporter = monitoring.start_service(
            self._guard,
            "The exporter",
            _product(*words),
            url=f"http://{address}",
            log_path=self._directory / "exporter.log",
            env=_environment(dsns.monitor_dsn),
        )
        self._stack.callback(self._guard.stop, exporter.process)
        services = [exporter, *self._start_monitoring(address)]
        for service in services:
            service.wait_until_ready()
        self.serving = True
        self._show_scans(exporter)
        self._show_next(services, dsns)
        self._keep_serving(services, dsns)

    def _start_monitoring(self, exporter_address: str) -> list[monitoring.Service]:
        if not self._options.prometheus:
            return []
        alertmanager = monitoring.start_alertmanager(self._guard, self._directory)
        if alertmanager is not None:
            self._stack.callback(self._guard.stop, alertmanager.process)
        prometheus = monitoring.start_prometheus(
            self._guard, self._directory, exporter_address=exporter_address, alertmanager=alertmanager
        )
        if prometheus is not None:
            self._stack.callback(self._guard.stop, prometheus.process)
        return [service for service in (prometheus, alertmanager) if service is not None]

    def _show_scans(self, exporter: monitoring.Service) -> None:
        for indexname, scans in sorted(scans_by_index(monitoring.fetch(f"{exporter.url}/metrics")).items()):
            self._screen.line(f"{indexname}: {scans:,.0f} scans")

    def _show_next(self, services: Sequence[monitoring.Service], dsns: database.NovaDatabase) -> None:
        screen = self._screen
        screen.heading("Next: open")
        exporter = services[0]
        pages = [
            (exporter.url, "the exporter"),
            (f"{exporter.url}/metrics", "the page that Prometheus reads"),
        ]
        for service in services[1:]:
            path = "/alerts" if service.name == "Prometheus" else ""
            pages.append((service.url + path, service.name))
        width = max(len(url) for url, _ in pages)
        for url, what in pages:
            screen.line(f"{url:<{width}}  {what}")
        missing = {"Prometheus", "Alertmanager"} - {service.name for service in services}
        if self._options.prometheus and missing:
            screen.line(f"(not in PATH, not started: {', '.join(sorted(missing))})")
        password_file = self._directory / "pgpass"
        database.write_password_file(password_file, dsns)
        screen.line()
        screen.line(f"curl -s {exporter.url}/metrics | grep idx_scan_total")
        screen.line(
            f"PGPASSFILE={password_file} psql -h {LOOPBACK} -p {self._server.port} "
            f"-U {database.APP} {database.DATABASE}"
        )
        screen.line()
        end = "until Ctrl-C"
        if self._options.duration_seconds is not None:
            end += f", at most {self._options.duration_seconds:g} seconds"
        screen.line(f"The workload continues at a low rate {end}.")

    def _keep_serving(self, services: Sequence[monitoring.Service], dsns: database.NovaDatabase) -> None:
        stop = threading.Event()
        gentle = ThreadPoolExecutor(1, thread_name_prefix="gentle-workload")
        self._stack.callback(gentle.shutdown)
        self._stack.callback(stop.set)
        users = gentle.submit(run_gently, dsns.app_dsn, users=self._size.users, stop=stop)
        duration = self._options.duration_seconds
        deadline = None if duration is None else time.monotonic() + duration
        while deadline is None or time.monotonic() < deadline:
            for service in services:
                service.raise_if_ended()
            if users.done():
                # It ends before the stop only by an error, which this raises.
                users.result()
            time.sleep(0.2)


def scans_by_index(page: str) -> dict[str, float]:
    """Return the scans of each index on a page of the exporter."""
    return {
        sample.labels["indexname"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == SCANS
    }


def _product(*words: str) -> list[str]:
    return [sys.executable, "-m", "exporter", *words]


def _environment(dsn: str) -> dict[str, str]:
    """Return the environment of a command, without the PG* settings of the user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DATA_SOURCE_"))}
    return {**kept, "PG_INDEX_EXPORTER_DSN": dsn}
