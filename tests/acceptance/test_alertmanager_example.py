"""The example routes send every alert of the rules where its severity belongs."""

import subprocess

import pytest

from tests.support.rule_file import ALERTS, RULE_FILE, alert_rules
from tests.support.tools import find_tool

EXAMPLE = ALERTS / "alertmanager" / "alertmanager.example.yml"
RECEIVERS = {"critical": "index-page", "warning": "index-ticket"}
ALERT_SEVERITIES = [
    (rule["alert"], rule["labels"]["severity"]) for rule in alert_rules(RULE_FILE.read_text(encoding="utf-8"))
]


def route_of(*labels: str) -> subprocess.CompletedProcess[str]:
    """What amtool says of the way of an alert with these labels."""
    return subprocess.run(
        [find_tool("amtool"), "config", "routes", "test", f"--config.file={EXAMPLE}", *labels],
        capture_output=True,
        text=True,
        check=False,
    )


def test_amtool_finds_no_fault_in_the_example() -> None:
    result = subprocess.run(
        [find_tool("amtool"), "check-config", EXAMPLE], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("name", "severity"), ALERT_SEVERITIES)
def test_alert_reaches_the_receiver_of_its_severity(name: str, severity: str) -> None:
    result = route_of(f"alertname={name}", f"severity={severity}", "datname=nova")

    assert result.stdout.strip() == RECEIVERS[severity]


def test_alerts_of_others_go_where_they_went_before() -> None:
    assert route_of("alertname=NodeDown", "severity=critical").stdout.strip() == "ticket"
