"""Which table is worked on next, within the disk, and what a failed step means for the others."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.migrate.execute.schedule import Schedule, TableSteps, reason_to_skip
from exporter.migrate.plan.disk_budget import DiskBudget, DiskNeed
from exporter.migrate.plan.steps import analyze_step, build_step, drop_step
from exporter.model import Step, StepKind, StepStatus
from tests.support.declared import declare, relation
from tests.support.waiting import wait_for

DECLARED = declare("idx_m", "messages")
OTHER = declare("idx_n", "messages")
BUILD, BUILD_OTHER = build_step(DECLARED), build_step(OTHER)
CLEAN = drop_step(DECLARED, StepKind.DROP_INVALID)
ANALYZE = analyze_step(DECLARED.table)


def steps_of(table: str) -> TableSteps:
    index = declare(f"idx_{table}", table)
    return (build_step(index), analyze_step(index.table))


def taken(schedule: Schedule) -> str | None:
    found = schedule.take()
    return None if found is None else found[0].table.relname


def budget_of(ceiling: int, **needs: tuple[int, int]) -> DiskBudget:
    """Of one volume; by table what it keeps and what it gives back."""
    return DiskBudget(
        {"/data": ceiling}, {relation(name): {"/data": DiskNeed(*need)} for name, need in needs.items()}
    )


def test_without_a_budget_lanes_come_in_the_plans_order() -> None:
    schedule = Schedule([steps_of("a"), steps_of("b"), steps_of("c")])

    assert [taken(schedule) for _ in range(4)] == ["a", "b", "c", None]


def test_a_small_table_overtakes_one_that_does_not_fit_yet() -> None:
    schedule = Schedule(
        [steps_of("a"), steps_of("b"), steps_of("c")], budget_of(100, a=(0, 60), b=(0, 50), c=(0, 40))
    )

    assert [taken(schedule), taken(schedule)] == ["a", "c"]
    schedule.release(steps_of("a"))
    assert taken(schedule) == "b"


def test_what_is_built_keeps_its_room() -> None:
    told: list[tuple[str, str]] = []
    schedule = Schedule(
        [steps_of("a"), steps_of("b"), steps_of("c")],
        budget_of(100, a=(40, 20), b=(30, 20), c=(20, 10)),
        lambda steps, why: told.append((steps[0].table.relname, why)),
    )

    assert taken(schedule) == "a"
    with ThreadPoolExecutor(1) as beside:
        # 60 are taken: neither 50 nor, once c is under way, 50 again.
        assert taken(schedule) == "c"
        waiting = beside.submit(taken, schedule)
        wait_for("the wait", lambda: told or None)
        assert not waiting.done()
        schedule.release(steps_of("c"))
        schedule.release(steps_of("a"))
        assert waiting.result() == "b"
    assert told == [("b", "/data: needs up to 50 bytes, 10 bytes left besides the running builds")]


def test_each_volume_counts_alone() -> None:
    needs = {
        relation("a"): {"/data": DiskNeed(90, 0), "/wal": DiskNeed(10, 0)},
        relation("b"): {"/wal": DiskNeed(20, 0)},
        relation("c"): {"/wal": DiskNeed(75, 0)},
    }
    schedule = Schedule(
        [steps_of("a"), steps_of("c"), steps_of("b")], DiskBudget({"/data": 100, "/wal": 100}, needs)
    )

    assert [taken(schedule), taken(schedule)] == ["a", "c"]
    assert not schedule.fits_any()
    schedule.release(steps_of("a"))
    assert not schedule.fits_any()
    schedule.release(steps_of("c"))
    assert taken(schedule) == "b"


def test_a_table_above_the_budget_has_it_to_itself() -> None:
    schedule = Schedule([steps_of("a"), steps_of("b")], budget_of(100, a=(0, 500), b=(0, 1)))

    assert taken(schedule) == "a"
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(taken, schedule)
        assert not waiting.done()
        schedule.release(steps_of("a"))
        assert waiting.result() == "b"


def test_a_table_of_unknown_need_counts_as_all_there_is() -> None:
    told: list[str] = []
    schedule = Schedule(
        [steps_of("a"), steps_of("b"), steps_of("c")],
        budget_of(100, a=(0, 60), c=(0, 40)),
        lambda steps, why: told.append(why),
    )

    assert [taken(schedule), taken(schedule)] == ["a", "c"]
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(taken, schedule)
        wait_for("the wait", lambda: told or None)
        schedule.release(steps_of("c"))
        schedule.release(steps_of("a"))
        assert waiting.result() == "b"
    assert "needs an unknown amount" in told[0]


def test_only_building_takes_disk() -> None:
    only = (analyze_step(relation("b")),)
    adopted = (replace(build_step(declare("idx_c", "c")), kind=StepKind.ADOPT),)
    schedule = Schedule([steps_of("a"), only, adopted], budget_of(100, a=(100, 0), b=(100, 0), c=(100, 0)))

    assert [taken(schedule), taken(schedule), taken(schedule)] == ["a", "b", "c"]


@given(
    needs=st.lists(st.none() | st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=6),
    ceiling=st.integers(1, 150),
    order=st.randoms(use_true_random=False),
)
def test_what_is_under_way_stays_within_the_budget_and_all_come_once(
    needs: list[tuple[int, int] | None], ceiling: int, order: Random
) -> None:
    tables = [steps_of(f"t{number}") for number in range(len(needs))]
    known = {f"t{number}": need for number, need in enumerate(needs) if need is not None}
    budget = budget_of(ceiling, **known)
    schedule = Schedule(tables, budget)
    running: list[TableSteps] = []
    ended: list[TableSteps] = []
    while len(ended) < len(tables):
        while len(running) + len(ended) < len(tables) and (not running or schedule.fits_any()):
            found = schedule.take()
            assert found is not None
            running.append(found)
            total = sum(budget.need(one[0].table, "/data").all_bytes for one in running)
            total += sum(budget.need(one[0].table, "/data").kept_bytes for one in ended)
            assert total <= ceiling or len(running) == 1
        ended.append(running.pop(order.randrange(len(running))))
        schedule.release(ended[-1])

    assert sorted(map(repr, ended)) == sorted(map(repr, tables))


Before = Mapping[Step, StepStatus]


@pytest.mark.parametrize(
    ("step", "before", "no_new_steps", "is_interrupted", "reason"),
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
    step: Step, before: Before, no_new_steps: bool, is_interrupted: bool, reason: str | None
) -> None:
    assert reason_to_skip(step, before, no_new_steps=no_new_steps, is_interrupted=is_interrupted) == reason
