"""The reading of PromQL that the tests of rules and dashboard lean on: it must see what is wrong."""

import pytest

from tests.support import promql

LABELS = {
    "requests_total": frozenset({"job", "instance", "path"}),
    "limit": frozenset({"job", "instance", "path"}),
    "build_info": frozenset({"job", "instance", "version"}),
}


def labels(expr: str) -> frozenset[str] | None:
    return promql.output_labels(promql.parse(expr), LABELS.__getitem__)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("1 + 1", None),
        ("time()", None),
        ("limit > 0", {"job", "instance", "path"}),
        ("sum(limit)", set()),
        ("sum by (path) (rate(requests_total[$__rate_interval]))", {"path"}),
        ("sum without (path) (limit)", {"job", "instance"}),
        ("topk by (path) (1, limit)", {"job", "instance", "path"}),
        ("time() - limit", {"job", "instance", "path"}),
        (
            "limit * on (job) group_left (version) build_info",
            {"job", "instance", "path", "version"},
        ),
        ("limit / on (job, path) limit", {"job", "path"}),
        ("limit and on (job) build_info", {"job", "instance", "path"}),
        ("limit or build_info", {"job", "instance", "path", "version"}),
        ('{__name__=~"limit|build_info"}', {"job", "instance"}),
        ('label_replace(limit, "route", "$1", "path", "(.*)")', {"job", "instance", "path", "route"}),
    ],
)
def test_knows_the_labels_of_a_result(expr: str, expected: set[str] | None) -> None:
    assert labels(expr) == expected


@pytest.mark.parametrize(
    ("expr", "missing"),
    [
        ('limit{version="1"}', "version"),
        ("sum by (version) (limit)", "version"),
        ("limit and on (version) build_info", "version"),
        ("limit and on (path) build_info", "path"),
        ("limit * on (job) group_left (path) build_info", "path"),
        ("sum by (path) (limit * on (job) build_info)", "path"),
    ],
)
def test_refuses_labels_that_are_not_there(expr: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"no label {missing} in"):
        labels(expr)


def test_refuses_sides_that_never_match() -> None:
    with pytest.raises(ValueError, match=r"never match: \['path', 'version'\]"):
        labels("limit * build_info")


def test_refuses_metrics_that_do_not_exist() -> None:
    with pytest.raises(KeyError, match="nothing"):
        labels("nothing > 0")


def test_finds_every_selector_with_its_function_and_range() -> None:
    found = promql.selectors(
        promql.parse('rate(requests_total{path=~"$path"}[$__rate_interval]) / on (path) limit offset 1h')
    )

    assert [(s.names, s.function, s.range) for s in found] == [
        (("requests_total",), "rate", promql.RATE_INTERVAL),
        (("limit",), None, None),
    ]
    assert found[0].matchers == {'path=~"$path"'}
