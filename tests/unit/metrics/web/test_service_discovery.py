"""The target groups of one and of several targets."""

import json
from typing import Any

import pytest

from exporter.catalogue.metrics import METRICS
from exporter.metrics.web.service_discovery import requested_url, target_groups


def groups(names: tuple[str, ...], url: str, telemetry_path: str = "/metrics") -> list[dict[str, Any]]:
    found = json.loads(target_groups(names, url, telemetry_path))
    assert isinstance(found, list)
    return found


def test_each_of_several_targets_is_probed_under_its_own_name_and_the_exporter_is_one_more() -> None:
    assert groups(("main", "archive"), "http://exporter:10187") == [
        {
            "targets": ["exporter:10187"],
            "labels": {
                "__scheme__": "http",
                "__metrics_path__": "/probe",
                "__param_target": "main",
                "instance": "exporter:10187/main",
                "target": "main",
            },
        },
        {
            "targets": ["exporter:10187"],
            "labels": {
                "__scheme__": "http",
                "__metrics_path__": "/probe",
                "__param_target": "archive",
                "instance": "exporter:10187/archive",
                "target": "archive",
            },
        },
        {
            "targets": ["exporter:10187"],
            "labels": {
                "__scheme__": "http",
                "__metrics_path__": "/metrics",
                "instance": "exporter:10187",
            },
        },
    ]


def test_an_only_target_is_scraped_once_with_the_exporter_and_keeps_its_instance_when_others_come() -> None:
    (only,) = groups(("main",), "http://exporter:10187", "/own")
    first, *_ = groups(("main", "archive"), "http://exporter:10187", "/own")

    assert only["labels"] == {
        "__scheme__": "http",
        "__metrics_path__": "/own",
        "instance": "exporter:10187/main",
        "target": "main",
    }
    assert only["labels"]["instance"] == first["labels"]["instance"]


@pytest.mark.parametrize(
    ("url", "address", "scheme", "path"),
    [
        ("https://metrics.example.org/pg/indexes", "metrics.example.org:443", "https", "/pg/indexes/probe"),
        ("http://metrics.example.org", "metrics.example.org:80", "http", "/probe"),
        ("https://[2001:db8::1]:9443/pg", "[2001:db8::1]:9443", "https", "/pg/probe"),
        ("http://[::1]", "[::1]:80", "http", "/probe"),
    ],
)
def test_scheme_host_and_prefix_are_those_of_the_url(url: str, address: str, scheme: str, path: str) -> None:
    first, _, own = groups(("a", "b"), url)

    assert first["targets"] == own["targets"] == [address]
    assert (first["labels"]["__scheme__"], first["labels"]["__metrics_path__"]) == (scheme, path)
    assert first["labels"]["instance"] == f"{address}{path.removesuffix('/probe')}/a"


def test_no_instance_is_given_twice_by_exporters_behind_one_proxy() -> None:
    urls = ("http://proxy/one", "http://proxy/two", "http://proxy:8080/one", "http://other/one")
    found = [group["labels"]["instance"] for url in urls for group in groups(("a", "b"), url)]

    assert len(found) == len(set(found)) == 12


def test_labels_of_targets_are_none_that_pages_publish() -> None:
    given = {label for group in groups(("a", "b"), "http://x") for label in group["labels"]}

    assert {"target", "instance"} == {label for label in given if not label.startswith("__")}
    assert not given & {label for metric in METRICS for label in metric.labels}


def test_only_a_host_makes_a_url() -> None:
    assert requested_url("https", "[::1]:10187") == "https://[::1]:10187"
    assert requested_url("http", "exporter") == "http://exporter"
    assert requested_url("http", "user@exporter") is None
    assert requested_url("http", "") is None
