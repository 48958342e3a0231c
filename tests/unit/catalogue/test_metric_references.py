"""Rules and dashboard read only what is exported, and what is exported is of use somewhere."""

import pytest

from exporter.catalogue import metrics as catalogue
from tests.support import dashboard, metrics, promql
from tests.support.metrics import Rule

# Of use outside the dashboard and the rules, each for its reason.
DOCUMENTED_ONLY: dict[str, str] = {}


@pytest.mark.parametrize("rule", metrics.rules(), ids=lambda rule: rule.name)
def test_rule_names_only_metrics_and_labels_that_exist(rule: Rule) -> None:
    assert promql.output_labels(promql.parse(rule.expr), metrics.labels_of) is not None


def test_every_metric_is_read_by_the_dashboard_or_a_rule_or_listed_here() -> None:
    model = dashboard.load()
    queries = [*dashboard.panel_queries(model), *dashboard.annotation_queries(model)]
    expressions = [*(query.expr for query in queries), *(rule.expr for rule in metrics.rules())]
    used = set().union(*(metrics.metric_names(expr) for expr in expressions))
    exported = {*metrics.CATALOGUE, *catalogue.PROCESS_METRICS}

    assert exported - used == set(DOCUMENTED_ONLY)


def test_every_recorded_series_is_recorded_once() -> None:
    recorded = [rule.name for rule in metrics.rules() if not rule.is_alert]

    assert len(recorded) == len(set(recorded))
