"""The state of a step in execution: what cancels it, what works for it, what survives its end."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from exporter.migrate.execute.context import ExecutionContext
from exporter.migrate.execute.processes import FollowedProcess, StepProcess
from exporter.migrate.execute.step_run import AbandonReason, StepRun
from exporter.migrate.execute.step_runs import StepRuns
from exporter.migrate.plan.steps import analyze_step, build_step
from exporter.model import Step
from exporter.postgres.journal import Journal, Leftover
from exporter.postgres.target import SessionLimits
from tests.conftest import TestDatabase
from tests.postgres.migrate.running import QUICK
from tests.support.builds import as_declared, journal_of
from tests.support.declared import declare

BUILD = build_step(declare("idx_sender", "messages", "sender_id"))
OTHER = build_step(declare("idx_post", "posts", "sender_id"))
FOREIGN_DROP = FollowedProcess(pid=4711, is_drop=True, is_managed=True, may_cancel=False)


@dataclass
class Execution:
    """The step runs of a database and the notes on them."""

    step_runs: StepRuns
    notes: list[tuple[Step, str]] = field(default_factory=list)

    def actions(self) -> list[str]:
        """The actions in the journal, in order."""
        rows = self.step_runs.context.journal.connection.execute(
            "SELECT detail ->> 'because' FROM public.migration_events WHERE detail ? 'action' ORDER BY id"
        )
        return [str(because) for (because,) in rows]


@pytest.fixture
def execution(shop: TestDatabase) -> Iterator[Execution]:
    with journal_of(shop) as journal:
        yield execution_in(shop, journal)


def execution_in(shop: TestDatabase, journal: Journal) -> Execution:
    notes: list[tuple[Step, str]] = []
    context = ExecutionContext(
        as_declared(shop), journal, QUICK, on_note=lambda step, text: notes.append((step, text))
    )
    return Execution(StepRuns(context), notes)


def pids(run: StepRun) -> list[int]:
    return [pid for pid, _ in run.processes()]


def test_a_step_has_one_run(execution: Execution) -> None:
    assert execution.step_runs.of(BUILD) is execution.step_runs.of(BUILD)
    assert execution.step_runs.of(BUILD) is not execution.step_runs.of(OTHER)


def test_a_cancel_reaches_each_running_step_and_is_noted_once(execution: Execution) -> None:
    step_runs = execution.step_runs
    idle = step_runs.of(OTHER)
    with closing(step_runs.of(BUILD).open_session()):
        step_runs.cancel_all()
        step_runs.cancel_all()

    assert execution.notes == [(BUILD, "cancelling and cleaning up")]
    assert step_runs.context.stopping.is_set()
    assert step_runs.of(BUILD).reason_to_cancel_followed() == "the run was stopped"
    assert idle.reason_to_cancel_followed() is None


def test_a_followed_process_that_may_not_be_cancelled_goes_on(execution: Execution) -> None:
    run = execution.step_runs.of(BUILD)
    with closing(run.open_session()):
        run.follow(FOREIGN_DROP)
        execution.step_runs.cancel_all()
        run.abandon("too slow", may_retry=False)

        assert run.own_session() is None
    assert execution.notes == []
    assert run.take_abandon_reason() is None
    assert execution.actions() == []


def test_a_step_is_abandoned_once_for_the_first_reason(execution: Execution) -> None:
    run = execution.step_runs.of(BUILD)
    with closing(run.open_session()):
        run.abandon("too slow", may_retry=False)
        run.abandon("in the way", may_retry=True)

    assert execution.actions() == ["too slow"]
    assert run.reason_to_cancel_followed() == "too slow"
    assert run.take_abandon_reason() == AbandonReason("too slow", may_retry=False)
    assert run.take_abandon_reason() is None


def test_a_step_without_a_session_is_not_abandoned(execution: Execution) -> None:
    run = execution.step_runs.of(BUILD)

    run.abandon("too slow", may_retry=False)

    assert run.take_abandon_reason() is None
    assert execution.actions() == []


def test_the_process_that_works_for_a_step_is_its_session_the_cleanup_or_the_followed_one(
    execution: Execution,
) -> None:
    run = execution.step_runs.of(BUILD)
    assert pids(run) == []
    with closing(run.open_session()) as session:
        own = session.info.backend_pid
        assert execution.step_runs.processes() == {own: StepProcess(BUILD, is_drop=False)}
        cleaning = run.clean_up(lambda _: list(run.processes()), SessionLimits())
        ((pid, process),) = cleaning
        assert pid != own
        assert process == StepProcess(BUILD, is_drop=True, may_cancel=False, is_cleanup=True)
        assert pids(run) == [own]
        run.follow(FOREIGN_DROP)
        assert execution.step_runs.processes() == {
            4711: StepProcess(BUILD, is_drop=True, is_managed=True, may_cancel=False)
        }
        run.follow(None)
        assert pids(run) == [own]
    assert pids(run) == []


def test_no_policy_applies_to_analyze(execution: Execution) -> None:
    step = analyze_step(BUILD.table)
    with closing(execution.step_runs.of(step).open_session()):
        ((_, process),) = execution.step_runs.processes().items()

    assert not process.is_managed


def test_the_end_of_an_execution_forgets_all_but_the_cancel_and_the_leftovers(execution: Execution) -> None:
    run = execution.step_runs.of(BUILD)
    leftover = Leftover(1, "idx_sender_invalid_0badcafe", "public", "messages", "idx_sender")
    with closing(run.open_session()):
        run.abandon("too slow", may_retry=False)
        run.set_followed_cancelled(is_cancelled=True)
        run.add_leftover(leftover)
        execution.step_runs.cancel_all()
        run.end()

        assert run.own_session() is None
    assert not run.is_followed_cancelled
    assert run.take_abandon_reason() is None
    assert run.reason_to_cancel_followed() == "the run was stopped"
    assert run.leftovers() == [leftover]
    run.remove_leftover(leftover)
    assert run.leftovers() == []
