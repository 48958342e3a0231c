"""Log lines: one record a line, whatever it holds."""

import json
import logging
import sys

import pytest

from exporter.metrics.logs import JsonFormatter, LogfmtFormatter


@pytest.fixture
def record() -> logging.LogRecord:
    record = logging.LogRecord(
        "exporter.metrics.collect", logging.WARNING, __file__, 1, "collector %s", ("failed",), None
    )
    record.created = 1732288888.25
    record.datname = 'no"va\nx'
    record.seconds = 0.5
    return record


def test_logfmt(record: logging.LogRecord) -> None:
    assert LogfmtFormatter().format(record) == (
        "time=2024-11-22T15:21:28.250Z level=warning logger=exporter.metrics.collect "
        'msg="collector failed" datname="no\\"va\\nx" seconds=0.5'
    )


def test_json(record: logging.LogRecord) -> None:
    line = JsonFormatter().format(record)

    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2024-11-22T15:21:28.250Z",
        "level": "warning",
        "logger": "exporter.metrics.collect",
        "msg": "collector failed",
        "datname": 'no"va\nx',
        "seconds": 0.5,
    }


@pytest.mark.parametrize("formatter", [LogfmtFormatter(), JsonFormatter()])
def test_a_traceback_stays_on_the_line(formatter: logging.Formatter, record: logging.LogRecord) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record.exc_info = sys.exc_info()

    line = formatter.format(record)

    assert "\n" not in line
    assert "ValueError: broken" in line
