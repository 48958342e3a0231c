"""The dashboard's queries ask for series and labels that exist, in the way Grafana's linter wants them."""

import re
from datetime import timedelta
from typing import Any

import pytest

from tests.support import dashboard, metrics, promql
from tests.support.dashboard import Query

MODEL = dashboard.load()
PANEL_QUERIES = dashboard.panel_queries(MODEL)
QUERIES = [*PANEL_QUERIES, *dashboard.annotation_queries(MODEL)]

# The hour that the alert judges by; it must not follow the time picker.
ALERT_WINDOW = timedelta(hours=1)


def all_selectors() -> list[tuple[Query, promql.Selector]]:
    """The selectors of all queries, each with its query."""
    return [(query, selector) for query in QUERIES for selector in promql.selectors(promql.parse(query.expr))]


def test_names_only_metrics_and_labels_that_exist() -> None:
    for query in [*QUERIES, *dashboard.variable_queries(MODEL)]:
        labels = promql.output_labels(promql.parse(query.expr), metrics.labels_of)

        assert labels is not None, query.place
        assert set(re.findall(r"{{(\w+)}}", query.legend)) <= labels, query.place


def test_is_narrowed_to_the_chosen_job_and_instance() -> None:
    for query, selector in all_selectors():
        assert {'job=~"$job"', 'instance=~"$instance"'} <= selector.matchers, query.place


def test_compares_variables_as_patterns() -> None:
    """Several chosen values become a|b, which no other matcher understands."""
    for query, selector in all_selectors():
        for matcher in selector.matchers:
            assert "$" not in matcher or re.fullmatch(r'(\w+)=~"\$\1"', matcher), query.place


def test_counters_are_read_through_their_rate_and_nothing_else_is() -> None:
    for query, selector in all_selectors():
        is_counter = [name.endswith("_total") for name in selector.names]
        assert all(is_counter) or not any(is_counter), query.place
        assert all(is_counter) == (selector.function in promql.COUNTER_FUNCTIONS), (query.place, selector)


def test_rates_follow_the_scrape_interval() -> None:
    for query, selector in all_selectors():
        if selector.range is not None:
            window = ALERT_WINDOW if selector.function == "increase" else promql.RATE_INTERVAL
            assert selector.range == window, (query.place, selector)


@pytest.mark.parametrize(
    "panel", [p for p in dashboard.panels(MODEL) if p["type"] == "table"], ids=lambda p: p["title"]
)
def test_all_columns_of_a_table_share_the_labels_that_identify_its_rows(
    panel: dict[str, Any],
) -> None:
    """Grafana merges rows on the fields that all frames have: fewer, and rows of two things become one."""
    of_column = [
        promql.output_labels(promql.parse(target["expr"]), metrics.labels_of) for target in panel["targets"]
    ]
    label_sets = [labels for labels in of_column if labels is not None]
    shown = set(panel["transformations"][1]["options"]["indexByName"])
    shown_labels = {name for name in shown if not name.startswith("Value #")}

    smallest = frozenset.intersection(*label_sets)
    assert len(label_sets) == len(panel["targets"])
    assert smallest in label_sets
    assert shown_labels == frozenset.union(*label_sets) - {"job"}
