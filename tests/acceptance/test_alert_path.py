"""PostgreSQL -> exporter -> Prometheus -> Alertmanager -> webhook, with nothing in between left out.

The shipped rules and the example routes, with their windows scaled to seconds: an hour is 24 seconds.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg import sql

from exporter.demo.monitoring import Service
from tests.conftest import OwnServer, TestDatabase
from tests.support.rule_file import ALERTS, RULE_FILE, scaled_rules
from tests.support.run_directory import run_guard
from tests.support.services import ask, make_monitor_role, start, start_exporter, start_prometheus
from tests.support.tools import find_tool
from tests.support.webhook_sink import WebhookSink, webhook_sink

SCALE = 24 / 3600
INTERVAL = "2s"
PATIENCE_SECONDS = 200

USED = "idx_messages_sender"
UNUSED = "idx_messages_created"
MANIFEST = f"""
migration: alert_path
indexes:
  - {{name: {USED}, table: public.messages, columns: [sender_id]}}
  - {{name: {UNUSED}, table: public.messages, columns: [created_at DESC]}}
"""
SCHEMA = f"""
CREATE TABLE messages AS
  SELECT g AS id, g % 500 AS sender_id, now() - g * interval '1 minute' AS created_at
  FROM generate_series(1, 20000) AS g;
CREATE INDEX {USED} ON messages (sender_id);
CREATE INDEX {UNUSED} ON messages (created_at DESC);
"""
BY_SENDER = "SELECT count(*) FROM messages WHERE sender_id = 7"
NEWEST = "SELECT id FROM messages ORDER BY created_at DESC LIMIT 1"


class Workload(threading.Thread):
    """Queries that an application would run, one after another, until it is told to stop."""

    def __init__(self, database: TestDatabase) -> None:
        super().__init__()
        self._database = database
        self._stopped = threading.Event()
        self.queries = [BY_SENDER]

    def run(self) -> None:
        with self._database.connect() as connection:
            while not self._stopped.wait(0.02):
                for query in list(self.queries):
                    connection.execute(sql.SQL(query))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


@dataclass(frozen=True, slots=True)
class AlertPath:
    """The running whole: what is queried, what is asked, what is paged."""

    database: TestDatabase
    workload: Workload
    exporter: Service
    prometheus: Service
    pages: WebhookSink

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """The result of an instant query to Prometheus."""
        return ask(self.prometheus, expr)

    def scans(self) -> dict[str, int]:
        """The recorded scans of each declared index, by its name."""
        rows = self.ask("pg_stat_user_indexes_idx_scan")
        return {row["metric"]["indexname"]: int(row["value"][1]) for row in rows}

    def page_states(self) -> dict[str, str]:
        """The latest state, firing or resolved, of each index that UnusedDatabaseIndex ever paged for."""
        return {
            alert["labels"]["indexname"]: alert["status"]
            for alert in self.pages.alerts("/page")
            if alert["labels"]["alertname"] == "UnusedDatabaseIndex"
        }

    def wait_for(self, what: str, is_so: Callable[[], bool]) -> None:
        """Returns when it is so; fails with what the programs logged when it does not come to that."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            self.prometheus.raise_if_ended()
            if time.monotonic() > deadline:
                known = self.ask('{__name__=~"ALERTS|cluster_.*|up|pg_index_exporter_target_up"}')
                pytest.fail(f"{what}: not so. Prometheus knows {known}\n{self.exporter.log_tail()}")
            time.sleep(0.2)


@pytest.fixture
def alert_path(own_server: OwnServer, tmp_path: Path) -> Iterator[AlertPath]:
    """Everything started, the used index in use, the other one left alone."""
    server = own_server()
    database = TestDatabase(server, server.create_database())
    for statement in filter(str.strip, SCHEMA.split(";")):
        database.execute(sql.SQL(statement))
    database.execute("VACUUM ANALYZE messages")
    monitor_dsn = make_monitor_role(database, "{messages}")
    manifest = tmp_path / "alert_path.yaml"
    manifest.write_text(MANIFEST, encoding="utf-8")
    rules = tmp_path / "scaled.rules.yml"
    rules.write_text(scaled_rules(RULE_FILE.read_text(encoding="utf-8"), SCALE), encoding="utf-8")
    with ExitStack() as stack:
        pages = stack.enter_context(webhook_sink())
        exporter = start_exporter(stack, tmp_path, monitor_dsn, manifest)
        alertmanager = start_alertmanager(stack, tmp_path, pages)
        prometheus = start_prometheus(
            stack, tmp_path, exporter, interval=INTERVAL, rules=rules, alertmanager=alertmanager
        )
        workload = Workload(database)
        workload.start()
        stack.callback(workload.stop)
        yield AlertPath(database, workload, exporter, prometheus, pages)


def start_alertmanager(stack: ExitStack, directory: Path, pages: WebhookSink) -> Service:
    """Alertmanager with the example's routes, impatient, and the test's webhook as its receivers."""
    config = yaml.safe_load(
        (ALERTS / "alertmanager" / "alertmanager.example.yml").read_text(encoding="utf-8")
    )
    for route in (config["route"]["routes"][0], config["route"]["routes"][0]["routes"][0]):
        route |= {"group_wait": "1s", "group_interval": "1s"}
    for receiver in config["receivers"]:
        for webhook in receiver.get("webhook_configs", []):
            webhook["url"] = f"{pages.url}/{receiver['name'].removeprefix('index-')}"
    path = directory / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return start(
        stack,
        directory,
        "alertmanager",
        *(find_tool("alertmanager"), f"--config.file={path}", f"--storage.path={directory / 'alertmanager'}"),
        *("--web.listen-address={address}", "--cluster.listen-address="),
    )


def test_unused_index_pages_until_it_is_used_and_the_used_one_never(alert_path: AlertPath) -> None:
    alert_path.wait_for("the unused index pages", lambda: alert_path.page_states() == {UNUSED: "firing"})
    (page, *_) = [alert for alert in alert_path.pages.alerts("/page") if "indexname" in alert["labels"]]
    ((identifier,),) = alert_path.database.execute("SELECT system_identifier::text FROM pg_control_system()")
    assert page["labels"] == {
        "alertname": "UnusedDatabaseIndex",
        "severity": "critical",
        "system_identifier": identifier,
        "datname": alert_path.database.name,
        "schemaname": "public",
        "relname": "messages",
        "indexname": UNUSED,
    }
    assert page["annotations"]["runbook_url"] == "alerts/runbooks/UnusedDatabaseIndex.md"
    assert alert_path.exporter.url.removeprefix("http://") in page["annotations"]["description"]
    assert alert_path.scans()[UNUSED] == 0
    assert alert_path.scans()[USED] > 0

    alert_path.workload.queries.append(NEWEST)
    alert_path.wait_for("the scans are counted", lambda: alert_path.scans()[UNUSED] > 0)
    alert_path.wait_for("the page resolves", lambda: alert_path.page_states() == {UNUSED: "resolved"})
    paged = f'ALERTS{{alertname="UnusedDatabaseIndex", indexname="{USED}"}}'
    assert alert_path.ask(f"count_over_time({paged}[1h])") == []


def test_dead_database_and_dead_exporter_are_told_apart(alert_path: AlertPath) -> None:
    def has_come(path: str, name: str) -> bool:
        return name in {alert["labels"]["alertname"] for alert in alert_path.pages.alerts(path)}

    alert_path.wait_for(
        "the exporter is scraped", lambda: bool(alert_path.ask("pg_index_exporter_target_up == 1"))
    )
    alert_path.workload.stop()
    alert_path.database.server.stop()
    alert_path.wait_for("the database is a ticket", lambda: has_come("/ticket", "PgIndexExporterTargetDown"))
    alert_path.wait_for(
        "the exporter answers without its database",
        lambda: bool(alert_path.ask("up == 1 and on (job, instance) pg_index_exporter_target_up == 0")),
    )

    run_guard().stop(alert_path.exporter.process)
    alert_path.wait_for("the exporter is a page", lambda: has_come("/page", "PgIndexExporterDown"))
