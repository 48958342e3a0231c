"""Whom a step was seen to wait for, added up over looks."""

from dataclasses import replace

import pytest

from exporter.migrate.execute.watch.waits import Waits
from exporter.migrate.plan.steps import build_step
from tests.unit.migrate.report.test_status_report import session
from tests.unit.migrate.samples import MESSAGES, POSTS

STEP, OTHER = build_step(MESSAGES), build_step(POSTS)
PHASE = "waiting for old snapshots"
FIRST, SECOND = session(1, "SELECT 'secret'"), session(2, None)
PREPARED = replace(session(3, None), pid=None, gid="it's")


def test_times_add_up_for_whom_two_looks_saw() -> None:
    waits = Waits()

    waits.add(STEP, PHASE, [FIRST], since_seconds=0.5, waiting_seconds=2.0)
    waits.add(STEP, PHASE, [FIRST, PREPARED], since_seconds=1.0, waiting_seconds=3.0)
    waits.add(STEP, PHASE, [], since_seconds=1.0, waiting_seconds=None)
    waits.add(STEP, "waiting for writers before build", [FIRST], since_seconds=1.0, waiting_seconds=None)

    told = [(wait.phase, wait.pid, wait.seconds) for wait in waits.of(STEP)]
    assert told == [
        (PHASE, 1, pytest.approx(3.0)),
        (PHASE, None, pytest.approx(3.0)),
        ("waiting for writers before build", 1, 0.0),
    ]
    assert waits.of(STEP)[0].query == "SELECT ?"
    assert waits.of(OTHER) == ()


def test_of_many_the_longest_are_kept() -> None:
    waits = Waits()
    for pid in range(1, 100):
        waits.add(STEP, PHASE, [session(pid, None)], since_seconds=0.0, waiting_seconds=float(pid))

    assert [wait.pid for wait in waits.of(STEP)] == list(range(99, 79, -1))


def test_steps_are_kept_apart() -> None:
    waits = Waits()
    waits.add(STEP, PHASE, [FIRST], since_seconds=0.0, waiting_seconds=1.0)
    waits.add(OTHER, PHASE, [SECOND], since_seconds=0.0, waiting_seconds=1.0)

    assert [wait.pid for wait in waits.of(STEP)] == [1]
    assert [wait.pid for wait in waits.of(OTHER)] == [2]
