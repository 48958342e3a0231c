"""What can be asked for in Prometheus: the metrics of the exporter, and what the rules record from them."""

import functools
from dataclasses import dataclass

import yaml

from exporter.catalogue import metrics as catalogue
from tests.support import promql
from tests.support.rule_file import ALERTS

RULES = sorted((ALERTS / "rules").glob("*.rules.yml"))

CATALOGUE = {metric.name: metric for metric in catalogue.METRICS}
# Prometheus gives these to every series that it scrapes.
TARGET_LABELS = frozenset({"job", "instance"})
# Without labels of their own: what prometheus-client says about the process, and Prometheus about a scrape.
UNLABELLED = frozenset({*catalogue.PROCESS_METRICS, "up"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the shipped files."""

    name: str
    expr: str
    is_alert: bool


def rules() -> list[Rule]:
    """All recording and alerting rules, in order."""
    return [
        Rule(rule.get("record") or rule["alert"], rule["expr"], "alert" in rule)
        for path in RULES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


@functools.cache
def labels_of(name: str) -> frozenset[str]:
    """The labels of a metric or a recorded series. Raises: KeyError, naming what does not exist."""
    if name in CATALOGUE:
        return TARGET_LABELS.union(CATALOGUE[name].labels)
    if name in UNLABELLED:
        return TARGET_LABELS
    for rule in rules():
        if rule.name == name and not rule.is_alert:
            labels = promql.output_labels(promql.parse(rule.expr), labels_of)
            assert labels is not None, f"{name} records a scalar"
            return labels
    raise KeyError(f"{name} is in neither the metric table nor the recording rules")


def metric_names(expr: str) -> set[str]:
    """The metrics that an expression reads."""
    return {name for found in promql.selectors(promql.parse(expr)) for name in found.names}
