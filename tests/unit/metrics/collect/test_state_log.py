"""What of the collections is logged: each change of a state once, every collection at debug only."""

import dataclasses
import logging

import pytest

from exporter.metrics.collect.state_log import StateLog
from exporter.metrics.snapshot import CollectorOutcome, DatabaseSnapshot, TargetSnapshot
from tests.support.snapshots import DATABASE

Line = tuple[str, str, str | None]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> StateLog:
    caplog.set_level(logging.INFO, logger="exporter.metrics.collect.state_log")
    return StateLog("primary")


def database(*failing: str, up: bool = True, datname: str = "nova") -> DatabaseSnapshot:
    names = ("server", "indexes", "sizes")
    outcomes = tuple(
        CollectorOutcome(name, name not in failing, 0.1, None, "why" if name in failing else None)
        for name in names
    )
    return dataclasses.replace(DATABASE, datname=datname, up=up, outcomes=outcomes)


def down(datname: str = "nova") -> DatabaseSnapshot:
    return database("server", "indexes", "sizes", up=False, datname=datname)


def observe(log: StateLog, *databases: DatabaseSnapshot, was_cut: bool = False) -> None:
    log.observe(TargetSnapshot("primary", databases, 0.25), was_cut=was_cut)


def lines(caplog: pytest.LogCaptureFixture) -> list[Line]:
    """What was logged since it was last asked: message, database, collector."""
    found = [
        (record.getMessage(), vars(record)["datname"], vars(record).get("collector"))
        for record in caplog.records
    ]
    caplog.clear()
    return found


def test_a_database_that_goes_and_comes_back(log: StateLog, caplog: pytest.LogCaptureFixture) -> None:
    observe(log, database())
    assert lines(caplog) == []

    for _ in range(3):
        observe(log, down())
    assert lines(caplog) == [("database does not answer", "nova", None)]

    for _ in range(3):
        observe(log, database())
    assert lines(caplog) == [("database answers again", "nova", None)]


def test_a_collector_that_fails_and_works_again(log: StateLog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        observe(log, database("sizes"))
    assert lines(caplog) == [("collector failed", "nova", "sizes")]

    for _ in range(3):
        observe(log, database())
    assert lines(caplog) == [("collector works again", "nova", "sizes")]

    observe(log, database("sizes"))
    assert lines(caplog) == [("collector failed", "nova", "sizes")]


def test_what_failed_before_the_database_went_is_no_news_after_it(
    log: StateLog, caplog: pytest.LogCaptureFixture
) -> None:
    observe(log, database("sizes"))
    observe(log, down())
    observe(log, database("sizes"))

    assert [line[0] for line in lines(caplog)] == [
        "collector failed",
        "database does not answer",
        "database answers again",
    ]


def test_databases_are_told_apart(log: StateLog, caplog: pytest.LogCaptureFixture) -> None:
    observe(log, database("sizes"), down("other"))
    observe(log, database("sizes"), database("sizes", datname="other"))

    assert lines(caplog) == [
        ("collector failed", "nova", "sizes"),
        ("database does not answer", "other", None),
        ("database answers again", "other", None),
        ("collector failed", "other", "sizes"),
    ]


def test_the_lines_name_target_reason_and_hint(log: StateLog, caplog: pytest.LogCaptureFixture) -> None:
    outcomes = (
        CollectorOutcome("indexes", False, None, None, "lost"),
        CollectorOutcome("server", False, None, None, "refused", "start it"),
    )
    observe(log, dataclasses.replace(down(), outcomes=outcomes))

    (record,) = caplog.records
    said = {key: vars(record)[key] for key in ("target", "datname", "reason", "hint")}
    assert said == {"target": "primary", "datname": "nova", "reason": "refused", "hint": "start it"}
    assert record.levelname == "WARNING"


def test_a_collection_that_was_cut_says_nothing(log: StateLog, caplog: pytest.LogCaptureFixture) -> None:
    observe(log, down())
    lines(caplog)

    observe(log, database("sizes"), was_cut=True)
    observe(log, down())

    assert lines(caplog) == []


def test_every_collection_is_one_line_at_debug(log: StateLog, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="exporter.metrics.collect.state_log")
    observe(log, database())
    observe(log, database("sizes"), down("other"))
    observe(log, database("sizes"), down("other"), was_cut=True)

    collected = [vars(record) for record in caplog.records if record.levelno == logging.DEBUG]
    keys = ("message", "target", "up", "cut", "duration_seconds", "failed")
    assert [tuple(line[key] for key in keys) for line in collected] == [
        ("collected", "primary", True, False, 0.25, []),
        ("collected", "primary", False, False, 0.25, ["nova/sizes", "other"]),
        ("collected", "primary", False, True, 0.25, ["nova/sizes", "other"]),
    ]


def test_databases_that_are_found_and_gone(log: StateLog, caplog: pytest.LogCaptureFixture) -> None:
    def observe_found(*datnames: str, success: bool = True) -> None:
        databases = tuple(database(datname=datname) for datname in datnames)
        asked = CollectorOutcome("databases", success, 0.1, None, None if success else "why")
        snapshot = TargetSnapshot(
            "primary", databases, 0.25, discovery=asked, maintenance_datname="postgres", databases_cut=0
        )
        log.observe(snapshot, was_cut=False)

    for _ in range(2):
        observe_found("a", "b")
    assert lines(caplog) == [("database discovered", "a", None), ("database discovered", "b", None)]

    observe_found("b", "c")
    assert lines(caplog) == [("database discovered", "c", None), ("database gone", "a", None)]

    for _ in range(2):
        observe_found("b", "c", success=False)
    assert lines(caplog) == [("collector failed", "postgres", "databases")]

    for _ in range(2):
        observe_found("b", "c")
    assert lines(caplog) == [("collector works again", "postgres", "databases")]
