"""Steps executed one at a time, with a question before each: what each answer leads to."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from exporter.migrate.events import StepAnswer
from exporter.migrate.init import initialise
from exporter.migrate.options import BuildOptions, RunOptions, StepOptions
from exporter.migrate.report import exit_code
from exporter.model import OnFailure, Outcome, Step, StepStatus
from tests.conftest import TestDatabase
from tests.support.builds import as_declared, indexes_of
from tests.support.declared import declare, manifest_of

MANIFEST = manifest_of(
    declare("idx_sender", "messages", "sender_id"), declare("idx_posts", "posts", "sender_id"), analyze=()
)
OPTIONS = RunOptions(
    build=BuildOptions(steps=StepOptions(lock_budget_seconds=1, cleanup_budget_seconds=10, poll_seconds=0.1))
)
GO, SKIP, STOP = StepAnswer.CONTINUE, StepAnswer.SKIP, StepAnswer.STOP


def run(
    database: TestDatabase, answers: Sequence[StepAnswer], options: RunOptions = OPTIONS
) -> tuple[Outcome, list[str]]:
    """The outcome, and the steps that were asked about with what was built by then."""
    left = iter(answers)
    asked: list[str] = []

    def ask(step: Step, number: int, count: int) -> StepAnswer:
        name = step.table.relname if step.index is None else step.index.name
        asked.append(f"{number}/{count} {step.kind.value} {name} {len(indexes_of(database))}")
        return next(left)

    outcome = initialise(as_declared(database), MANIFEST, options, ask_step=ask)
    assert list(left) == []
    return outcome, asked


def ends(outcome: Outcome) -> list[StepStatus]:
    return [result.status for result in outcome.results]


def test_each_step_is_asked_about_when_those_before_it_are_done(shop: TestDatabase) -> None:
    outcome, asked = run(shop, [GO, GO, GO, GO])

    assert asked == [
        "1/4 build idx_sender 0",
        "2/4 analyze messages 1",
        "3/4 build idx_posts 1",
        "4/4 analyze posts 2",
    ]
    assert ends(outcome) == [StepStatus.DONE] * 4
    assert indexes_of(shop) == {"idx_sender": True, "idx_posts": True}


def test_a_skipped_build_skips_its_analyze_and_the_next_run_does_both(shop: TestDatabase) -> None:
    outcome, asked = run(shop, [SKIP, GO, GO])

    assert asked == ["1/4 build idx_sender 0", "3/4 build idx_posts 0", "4/4 analyze posts 1"]
    assert ends(outcome) == [StepStatus.SKIPPED] * 2 + [StepStatus.DONE] * 2
    assert outcome.results[0].message == "not started because you chose to skip it"
    assert outcome.results[1].message == "not started because nothing was built on the table"
    assert (exit_code(outcome), indexes_of(shop)) == (1, {"idx_posts": True})

    again, _ = run(shop, [GO, GO])
    assert (ends(again), exit_code(again)) == ([StepStatus.DONE] * 2, exit_code(again))
    assert indexes_of(shop) == {"idx_sender": True, "idx_posts": True}


def test_after_stop_nothing_is_asked_and_nothing_started(shop: TestDatabase) -> None:
    outcome, asked = run(shop, [GO, STOP])

    assert len(asked) == 2
    assert ends(outcome) == [StepStatus.DONE] + [StepStatus.SKIPPED] * 3
    assert {one.message for one in outcome.results[1:]} == {"not started because you chose to stop"}
    assert (exit_code(outcome), indexes_of(shop)) == (1, {"idx_sender": True})
    log = "SELECT phase, status FROM migration_log WHERE index_name IS NULL"
    assert shop.execute(log) == [("building", "failed")]


@pytest.mark.parametrize(
    ("on_failure", "answers", "statuses"),
    [
        (OnFailure.STOP_LAUNCHING, [GO], [StepStatus.SKIPPED] * 2),
        (OnFailure.CONTINUE, [GO, GO, GO], [StepStatus.DONE] * 2),
    ],
)
def test_after_a_failed_step_the_policy_decides(
    shop: TestDatabase, on_failure: OnFailure, answers: list[StepAnswer], statuses: list[StepStatus]
) -> None:
    def ask(step: Step, number: int, count: int) -> StepAnswer:
        if step.index is not None and step.index.name == "idx_sender":
            # Somebody takes the name between the plan and the step.
            shop.execute("CREATE VIEW idx_sender AS SELECT 1")
        return next(left)

    left = iter(answers)
    options = replace(OPTIONS, build=replace(OPTIONS.build, on_failure=on_failure))
    outcome = initialise(as_declared(shop), MANIFEST, options, ask_step=ask)

    assert list(left) == []
    assert ends(outcome)[0] is not StepStatus.DONE
    assert ends(outcome)[2:] == statuses
