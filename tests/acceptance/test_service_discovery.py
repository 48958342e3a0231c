"""A primary and its standby behind one exporter, found by Prometheus through /sd, and the rules on both."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from psycopg import sql

from exporter.demo.monitoring import Service
from tests.acceptance.test_alert_path import (
    BY_SENDER,
    INTERVAL,
    MANIFEST,
    SCALE,
    SCHEMA,
    UNUSED,
    USED,
    Workload,
)
from tests.conftest import OwnServer, TestDatabase
from tests.support.postgres_server import wait_for_replay
from tests.support.rule_file import RULE_FILE, scaled_rules
from tests.support.services import ask, start_exporter_of, start_prometheus
from tests.support.waiting import wait_for

PATIENCE_SECONDS = 200


@pytest.fixture
def prometheus(own_server: OwnServer, own_standby: OwnServer, tmp_path: Path) -> Iterator[Service]:
    """Prometheus that knows the exporter's /sd alone; one index is read on the standby, the other nowhere."""
    primary = own_server()
    standby = own_standby(primary)
    database = TestDatabase(primary, primary.create_database())
    for statement in filter(str.strip, SCHEMA.split(";")):
        database.execute(sql.SQL(statement))
    database.execute("VACUUM ANALYZE messages")
    wait_for_replay(primary, standby)
    manifest = tmp_path / "declared.yaml"
    manifest.write_text(MANIFEST, encoding="utf-8")
    rules = tmp_path / "scaled.rules.yml"
    rules.write_text(scaled_rules(RULE_FILE.read_text(encoding="utf-8"), SCALE), encoding="utf-8")
    targets = [
        {
            "name": name,
            "dsn": server.dsn(database.name),
            "databases": [{"name": database.name, "manifests": [str(manifest)]}],
        }
        for name, server in (("primary", primary), ("standby", standby))
    ]
    with ExitStack() as stack:
        exporter = start_exporter_of(stack, tmp_path, {"targets": targets})
        workload = Workload(TestDatabase(standby, database.name))
        workload.queries = [BY_SENDER]
        workload.start()
        stack.callback(workload.stop)
        yield start_prometheus(stack, tmp_path, exporter, interval=INTERVAL, rules=rules, discovers=True)


def test_targets_are_scraped_under_their_names_and_the_rules_join_them(prometheus: Service) -> None:
    def up() -> dict[str, str] | None:
        rows = ask(prometheus, "up == 1")
        found = {row["metric"]["instance"]: row["metric"].get("target", "") for row in rows}
        return found if len(found) == 3 else None

    found = wait_for("all are up", up)
    (own,) = [instance for instance, target in found.items() if not target]
    assert found == {own: "", f"{own}/primary": "primary", f"{own}/standby": "standby"}
    build = "count by (instance) (pg_index_exporter_build_info)"
    assert [row["metric"]["instance"] for row in ask(prometheus, build)] == [own]
    in_recovery = {row["metric"]["target"]: row["value"][1] for row in ask(prometheus, "pg_in_recovery")}
    assert in_recovery == {"primary": "0", "standby": "1"}

    def firing() -> list[dict[str, str]] | None:
        unused = 'ALERTS{alertname="UnusedDatabaseIndex", alertstate="firing"}'
        return [row["metric"] for row in ask(prometheus, unused)] or None

    (alert,) = wait_for("the index that neither reads pages", firing, PATIENCE_SECONDS)
    assert alert["indexname"] == UNUSED
    assert ask(prometheus, "cluster:pg_system_info:incomplete") == []
    assert [row["value"][1] for row in ask(prometheus, "cluster:pg_system_info:count")] == ["2"]
    paged = f'ALERTS{{alertname="UnusedDatabaseIndex", indexname="{USED}"}}'
    assert ask(prometheus, f"count_over_time({paged}[1h])") == []
    assert ask(prometheus, 'ALERTS{alertname=~"PgIndexExporter(Down|Absent|TargetDown)"}') == []
