"""Which table is worked on next, within the disk, and what a failed step means for the others."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.migrate.plan import analyze_step, build_step, drop_step
from exporter.migrate.schedule import Lane, Schedule, reason_to_skip
from exporter.model import RelationName, Step, StepKind, StepStatus
from tests.support.declared import declare, relation

DECLARED = declare("idx_m", "messages")
OTHER = declare("idx_n", "messages")
BUILD, BUILD_OTHER = build_step(DECLARED), build_step(OTHER)
CLEAN = drop_step(DECLARED, StepKind.DROP_INVALID)
ANALYZE = analyze_step(DECLARED.table)


def lane(table: str) -> Lane:
    index = declare(f"idx_{table}", table)
    return (build_step(index), analyze_step(index.table))


def taken(schedule: Schedule) -> str | None:
    found = schedule.take()
    return None if found is None else found[0].table.relname


def sizes(**tables: float | None) -> Mapping[RelationName, float | None]:
    return {relation(name): size for name, size in tables.items()}


def test_without_a_budget_lanes_come_in_the_plans_order() -> None:
    schedule = Schedule([lane("a"), lane("b"), lane("c")])

    assert [taken(schedule) for _ in range(4)] == ["a", "b", "c", None]


def test_a_small_table_overtakes_one_that_does_not_fit_yet() -> None:
    schedule = Schedule([lane("a"), lane("b"), lane("c")], sizes(a=60, b=50, c=40), budget_bytes=100)

    assert [taken(schedule), taken(schedule)] == ["a", "c"]
    schedule.release(lane("a"))
    assert taken(schedule) == "b"


def test_a_table_above_the_budget_has_it_to_itself() -> None:
    schedule = Schedule([lane("a"), lane("b")], sizes(a=500, b=1), budget_bytes=100)

    assert taken(schedule) == "a"
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(taken, schedule)
        assert not waiting.done()
        schedule.release(lane("a"))
        assert waiting.result() == "b"


def test_a_table_of_unknown_size_counts_as_all_of_the_budget() -> None:
    schedule = Schedule([lane("a"), lane("b"), lane("c")], sizes(a=60, b=None, c=40), budget_bytes=100)

    assert [taken(schedule), taken(schedule)] == ["a", "c"]


def test_analyze_takes_no_disk() -> None:
    only = (analyze_step(relation("b")),)
    schedule = Schedule([lane("a"), only], sizes(a=100, b=100), budget_bytes=100)

    assert [taken(schedule), taken(schedule)] == ["a", "b"]


@given(
    needs=st.lists(st.none() | st.floats(0, 100), min_size=1, max_size=6),
    budget=st.floats(1, 150),
    order=st.randoms(use_true_random=False),
)
def test_what_is_under_way_stays_within_the_budget_and_all_come_once(
    needs: list[float | None], budget: float, order: Random
) -> None:
    lanes = [lane(f"t{number}") for number in range(len(needs))]
    by_table = {one[0].table: need for one, need in zip(lanes, needs, strict=True)}
    schedule = Schedule(lanes, by_table, budget)
    running: list[Lane] = []
    seen: list[Lane] = []
    while len(seen) < len(lanes):
        while len(seen) < len(lanes) and (not running or schedule.fits_any()):
            found = schedule.take()
            assert found is not None
            running.append(found)
            seen.append(found)
            total = sum(budget if (need := by_table[one[0].table]) is None else need for one in running)
            assert total <= budget or len(running) == 1
        schedule.release(running.pop(order.randrange(len(running))))

    assert sorted(map(repr, seen)) == sorted(map(repr, lanes))


Before = Mapping[Step, StepStatus]


@pytest.mark.parametrize(
    ("step", "before", "is_ending", "is_interrupted", "reason"),
    [
        (BUILD, {}, False, False, None),
        (BUILD, {}, True, False, "another step failed"),
        (BUILD, {}, False, True, "the run was stopped"),
        (BUILD, {CLEAN: StepStatus.DONE}, False, False, None),
        (BUILD, {CLEAN: StepStatus.LEFT_BEHIND}, False, False, "the step before it failed"),
        (BUILD_OTHER, {BUILD: StepStatus.FAILED}, False, False, None),
        (BUILD_OTHER, {BUILD: StepStatus.FAILED}, True, False, "another step failed"),
        # What was built wants its statistics, whatever failed beside it.
        (ANALYZE, {BUILD: StepStatus.DONE}, True, False, None),
        (ANALYZE, {BUILD: StepStatus.DONE, BUILD_OTHER: StepStatus.FAILED}, True, False, None),
        (ANALYZE, {BUILD: StepStatus.DONE}, True, True, "the run was stopped"),
        (ANALYZE, {BUILD: StepStatus.FAILED}, False, False, "nothing was built on the table"),
        (ANALYZE, {}, False, False, None),
        (ANALYZE, {}, True, False, "another step failed"),
    ],
)
def test_why_a_step_is_not_started(
    step: Step, before: Before, is_ending: bool, is_interrupted: bool, reason: str | None
) -> None:
    assert reason_to_skip(step, before, is_ending=is_ending, is_interrupted=is_interrupted) == reason
