"""Log lines: one record a line, whatever it holds."""

import json
import logging
import sys
from typing import Literal

import pytest

from exporter.metrics.logs import JsonFormatter, LogfmtFormatter, configure_logging


@pytest.fixture
def record() -> logging.LogRecord:
    record = logging.LogRecord(
        "exporter.metrics.collect.database", logging.WARNING, __file__, 1, "collector %s", ("failed",), None
    )
    record.created = 1732288888.25
    record.datname = 'no"va\nx'
    record.seconds = 0.5
    return record


def test_logfmt(record: logging.LogRecord) -> None:
    assert LogfmtFormatter().format(record) == (
        "time=2024-11-22T15:21:28.250Z level=warning logger=exporter.metrics.collect.database "
        'msg="collector failed" datname="no\\"va\\nx" seconds=0.5'
    )


def test_json(record: logging.LogRecord) -> None:
    line = JsonFormatter().format(record)

    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2024-11-22T15:21:28.250Z",
        "level": "warning",
        "logger": "exporter.metrics.collect.database",
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


@pytest.mark.parametrize("formatter", [LogfmtFormatter(), JsonFormatter()])
def test_nothing_reaches_the_terminal_that_it_would_act_upon(
    formatter: logging.Formatter, record: logging.LogRecord
) -> None:
    hostile = "\x1b[2J\x9b\u202e\u2028\udc80\U000e0001 żółć →"
    record.datname = hostile

    line = formatter.format(record)

    assert line.isprintable()
    assert "żółć →" in line
    if isinstance(formatter, JsonFormatter):
        assert json.loads(line)["datname"] == hostile


def test_lists_are_words_with_commas_or_json(record: logging.LogRecord) -> None:
    record.datname = ["nova/sizes", "other"]

    assert 'datname="nova/sizes,other"' in LogfmtFormatter().format(record)
    assert json.loads(JsonFormatter().format(record))["datname"] == ["nova/sizes", "other"]


@pytest.mark.parametrize(("log_format", "begins"), [("logfmt", "time="), ("json", "{")])
def test_the_level_decides_and_the_format_is_one_for_all(
    capsys: pytest.CaptureFixture[str], log_format: Literal["logfmt", "json"], begins: str
) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging("warning", log_format)
        logging.getLogger("exporter.anything").info("not told")
        logging.getLogger("somebody.else").warning("told")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(begins)
    assert "told" in line
    assert "not told" not in line
