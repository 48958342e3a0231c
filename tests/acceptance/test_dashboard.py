"""Every query of the dashboard, asked of a Prometheus that scrapes the exporter of a PostgreSQL in use.

Two declared indexes are built and used; two more are being built and are held where they are, so that
the panels about builds have something to show too.
"""

import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml

from exporter import bundled
from exporter.demo import nova, workload
from exporter.demo.monitoring import JOB, Service, fetch
from tests.conftest import TestDatabase
from tests.support import dashboard
from tests.support.dashboard import Query
from tests.support.rule_file import RULE_FILE
from tests.support.services import ask, make_monitor_role, start_discovering_exporter, start_prometheus

INTERVAL = "1s"
# Stands for both the hour of the alert and $__rate_interval.
WINDOW = "10s"
PATIENCE_SECONDS = 120
WORKERS = 4
MIGRATION = bundled.path("indexes") / "090_quick_win_4_missing_indexes.yaml"
BEING_BUILT = {
    "idx_users_created": "users (created_at)",
    "idx_preferences_created": "user_feed_preferences (created_at)",
}

MODEL = dashboard.load()
QUERIES = [*dashboard.panel_queries(MODEL), *dashboard.annotation_queries(MODEL)]


@pytest.fixture
def prometheus(nova_database: TestDatabase, tmp_path: Path) -> Iterator[Service]:
    """A Prometheus with the shipped rules that scrapes the exporter, both after the migration."""
    nova_database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    migrate(nova_database)
    manifest = tmp_path / "declared.yaml"
    manifest.write_text(declaring_what_is_built(MIGRATION.read_text(encoding="utf-8")), encoding="utf-8")
    monitor_dsn = make_monitor_role(nova_database, "{messages,posts,users,user_feed_preferences}")
    with ExitStack() as stack:
        stack.enter_context(running_workload(nova_database))
        stack.enter_context(waiting_builds(nova_database))
        exporter = start_discovering_exporter(stack, tmp_path, monitor_dsn, manifest)
        yield start_prometheus(stack, tmp_path, exporter, interval=INTERVAL, rules=RULE_FILE)


def migrate(database: TestDatabase) -> None:
    """Builds the declared indexes as a user would, which also journals their canonical definitions."""
    subprocess.run(
        [sys.executable, "-m", "exporter", "init", "--manifest", MIGRATION, "--yes"],
        env={**os.environ, "PG_INDEX_EXPORTER_DSN": database.dsn},
        check=True,
    )


def declaring_what_is_built(manifest: str) -> str:
    """The manifest, declaring the indexes of BEING_BUILT too."""
    document = yaml.safe_load(manifest)
    for name, target in BEING_BUILT.items():
        table, _, column = target.rstrip(")").partition(" (")
        document["indexes"].append({"name": name, "table": f"public.{table}", "columns": [column]})
    return yaml.safe_dump(document)


@contextmanager
def running_workload(database: TestDatabase) -> Iterator[None]:
    """The demo's workload, gently, in the background."""
    stop = threading.Event()
    users = nova.nova_size(messages=20_000, posts=8_000).users
    workers = [
        threading.Thread(
            target=workload.run_gently, args=(database.dsn,), kwargs={"users": users, "stop": stop}
        )
        for _ in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join()


@contextmanager
def waiting_builds(database: TestDatabase) -> Iterator[None]:
    """Two concurrent builds held in phases that between them count everything a build counts.

    The one on users has sorted its tuples and waits for a writer, the other has validated its blocks and
    waits for a snapshot.
    """
    builds = [
        threading.Thread(target=database.execute, args=(f"CREATE INDEX CONCURRENTLY {name} ON {target}",))
        for name, target in BEING_BUILT.items()
    ]
    with database.connect() as snapshot, database.connect() as early, database.connect() as late:
        snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        snapshot.execute("SELECT 1")
        early.execute("BEGIN; LOCK TABLE users IN ROW EXCLUSIVE MODE")
        for build in builds:
            build.start()
        try:
            wait_for_phases(database, "waiting for writers before build", "waiting for old snapshots")
            # The build has listed the writers it waits for; this one it meets at the next list.
            late.execute("BEGIN; LOCK TABLE users IN ROW EXCLUSIVE MODE")
            early.execute("ROLLBACK")
            wait_for_phases(database, "waiting for writers before validation", "waiting for old snapshots")
            yield
        finally:
            for session in (early, late, snapshot):
                session.execute("ROLLBACK")
            for build in builds:
                build.join()


def wait_for_phases(database: TestDatabase, *phases: str) -> None:
    """Returns when exactly these phases are those of the running builds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        rows = database.execute(
            "SELECT phase FROM pg_stat_progress_create_index WHERE datname = current_database()"
        )
        if sorted(phase for (phase,) in rows) == sorted(phases):
            return
        assert time.monotonic() < deadline, rows
        time.sleep(0.1)


def substituted(expr: str) -> str:
    """The query with everything chosen and the alert's hour scaled to the test's window."""
    return re.sub(r"\b1h\b", WINDOW, dashboard.with_everything_chosen(expr, JOB, WINDOW))


def has_data(prometheus: Service, query: Query) -> bool:
    """Whether the query returns a number; NaN, the mean of nothing, is none."""
    return any(not math.isnan(float(row["value"][1])) for row in ask(prometheus, substituted(query.expr)))


def test_every_query_returns_data(prometheus: Service) -> None:
    silent = QUERIES
    deadline = time.monotonic() + PATIENCE_SECONDS
    while silent and time.monotonic() < deadline:
        time.sleep(1)
        silent = [query for query in silent if not has_data(prometheus, query)]

    assert not [f"{query.place}: {substituted(query.expr)}" for query in silent]
    for query in dashboard.variable_queries(MODEL):
        assert label_values(prometheus, query), query.place


def label_values(prometheus: Service, query: Query) -> list[str]:
    """What Grafana offers for a template variable."""
    label = query.legend.strip("{}")
    parameters = urlencode({"match[]": substituted(query.expr)})
    answer = json.loads(fetch(f"{prometheus.url}/api/v1/label/{label}/values?{parameters}"))
    values: list[str] = answer["data"]
    return values
