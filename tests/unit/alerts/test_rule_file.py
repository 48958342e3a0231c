"""Every alert says what is wrong, where, and which runbook fixes it, in the labels that it has."""

import re
from typing import Any

import pytest

from tests.support import metrics, promql
from tests.support.rule_file import ALERTS, RULE_FILE, alert_rules, scaled_rules

RULES = list(alert_rules(RULE_FILE.read_text(encoding="utf-8")))
RUNBOOK_SECTIONS = ["Meaning", "Check", "Fix", "Silence"]
each_alert = pytest.mark.parametrize(
    "rule", RULES, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}"
)


@each_alert
def test_alert_has_a_known_severity(rule: dict[str, Any]) -> None:
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}


@each_alert
def test_alert_has_a_static_summary_and_a_description(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]

    assert annotations.keys() == {"summary", "description", "runbook_url"}
    # The same for all alerts of a notification, which shows it once.
    assert re.fullmatch(r"[A-Z][^{}]*\.", annotations["summary"])
    assert re.fullmatch(r"\S.*\.", annotations["description"])


@each_alert
def test_alert_has_a_runbook_of_its_own(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["runbook_url"] == f"alerts/runbooks/{rule['alert']}.md"
    text = (ALERTS / "runbooks" / f"{rule['alert']}.md").read_text(encoding="utf-8")

    assert text.startswith(f"# {rule['alert']}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == RUNBOOK_SECTIONS
    assert f"{rule['labels']['severity']}" in text


def test_every_runbook_belongs_to_an_alert() -> None:
    assert {path.stem for path in (ALERTS / "runbooks").iterdir()} == {rule["alert"] for rule in RULES}


@each_alert
def test_alert_waits_before_it_fires(rule: dict[str, Any]) -> None:
    assert "for" in rule


@each_alert
def test_annotations_name_only_labels_that_the_alert_has(rule: dict[str, Any]) -> None:
    # absent() returns the equality matchers of its selector, which a tree of labels does not tell.
    has = promql.output_labels(promql.parse(rule["expr"]), metrics.labels_of)
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]))

    assert has is not None
    assert named <= has


def test_scaled_rules_differ_in_nothing_but_their_windows() -> None:
    rules = """
groups:
  - name: usage
    rules:
      - record: scans
        expr: sum(pg_stat_user_indexes_idx_scan_total)
      - alert: Unused
        expr: scans == scans offset 1h and max_over_time(up{job="offset 1h [1h]"}[1d]) > 100
        for: 5m
        labels: {severity: critical}
"""
    expected = """\
groups:
- name: usage
  rules:
  - record: scans
    expr: sum(pg_stat_user_indexes_idx_scan_total)
  - alert: Unused
    expr: scans == scans offset 36000ms and max_over_time(up{job="offset 1h [1h]"}[864000ms])
      > 100
    for: 3000ms
    labels:
      severity: critical
"""
    assert scaled_rules(rules, 0.01) == expected


@pytest.mark.parametrize(
    "rule",
    [
        "{alert: Unused, expr: 'max_over_time(scans[1h:5m]) == 0', for: 5m}",
        "{alert: Unused, expr: 'scans == 0', for: 5m, keep_firing_for: 10m}",
    ],
)
def test_rules_with_windows_of_another_kind_are_not_half_scaled(rule: str) -> None:
    with pytest.raises(ValueError, match="no scale is known"):
        scaled_rules(f"groups: [{{name: usage, rules: [{rule}]}}]", 0.01)


def test_shipped_rules_can_be_scaled() -> None:
    by_name = {
        rule["alert"]: rule for rule in alert_rules(scaled_rules(RULE_FILE.read_text(encoding="utf-8"), 0.01))
    }

    assert by_name.keys() == {rule["alert"] for rule in RULES}
    assert by_name["UnusedDatabaseIndex"]["expr"].count("offset 36000ms") == 3
    assert by_name["UnusedDatabaseIndex"]["for"] == "3000ms"
