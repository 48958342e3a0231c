"""Which format and which encoding a client gets."""

import pytest

from exporter.metrics.exposition.page import PageFormat, accepts_gzip, choose_format

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS_2, PageFormat.OPENMETRICS),
        (PROMETHEUS_3, PageFormat.OPENMETRICS),
        ("application/openmetrics-text", PageFormat.OPENMETRICS),
        ('Application/OpenMetrics-Text; Version="1.0.0"', PageFormat.OPENMETRICS),
        ("application/openmetrics-text; q=0.4, text/plain; q=0.5", PageFormat.TEXT),
        ("application/openmetrics-text; q=0.5, text/plain; q=0.4", PageFormat.OPENMETRICS),
        ("application/openmetrics-text;q=0", PageFormat.TEXT),
        ("application/openmetrics-text;version=0.0.1", PageFormat.TEXT),
        ("application/openmetrics-text;q=high", PageFormat.TEXT),
        (BROWSER, PageFormat.TEXT),
        ("application/json", PageFormat.TEXT),
        ("*/*", PageFormat.TEXT),
        ("", PageFormat.TEXT),
        (";;,=;q,", PageFormat.TEXT),
    ],
)
def test_format_by_accept(accept: str, expected: PageFormat) -> None:
    assert choose_format(accept) is expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("gzip;q=0", False),
        ("*;q=0", False),
        ("gzip;q=0, *;q=1", False),
        ("br", False),
        ("", False),
    ],
)
def test_gzip_by_accept_encoding(accept_encoding: str, expected: bool) -> None:
    assert accepts_gzip(accept_encoding) is expected
