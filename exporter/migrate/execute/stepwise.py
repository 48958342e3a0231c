"""A plan executed one step at a time, with a question before each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from exporter.migrate.events import StepAnswer
from exporter.migrate.execute.executor import Executor
from exporter.migrate.execute.schedule import reason_to_skip
from exporter.migrate.plan.disk_budget import DiskBudget
from exporter.model import OnFailure, Plan, Step, StepKind, StepResult, StepStatus

# The step, its number and the number of steps.
AskStep = Callable[[Step, int, int], StepAnswer]
_CANCELLED = "57014"
_STOPPED = "you chose to stop"
_SKIPPED = "you chose to skip it"


def run_stepwise(executor: Executor, plan: Plan, budget: DiskBudget, ask: AskStep) -> tuple[StepResult, ...]:
    """The result of every step, in the plan's order.

    A step that needs one which was not done is not asked about. After a failed step the others are not
    started, unless the run continues on failure.
    Raises: what the executor raises, and what `ask` does.
    """
    results: dict[Step, StepResult] = {}
    stopped: str | None = None
    for number, step in enumerate(plan.steps, start=1):
        reason = stopped or _needs_another(step, results)
        if reason is None:
            match ask(step, number, len(plan.steps)):
                case StepAnswer.STOP:
                    reason = stopped = _STOPPED
                case StepAnswer.SKIP:
                    reason = _SKIPPED
                case StepAnswer.CONTINUE:
                    # The answer can have taken longer than the session lived.
                    executor.journal.live_connection()
                    (results[step],) = executor.run(replace(plan, steps=(step,)), budget)
                    stopped = _reason_to_stop(results[step], executor.options.on_failure)
        if reason is not None:
            results[step] = StepResult(step, StepStatus.SKIPPED, 0.0, message=f"not started because {reason}")
    return tuple(results[step] for step in plan.steps)


def _needs_another(step: Step, results: dict[Step, StepResult]) -> str | None:
    before = {earlier: result.status for earlier, result in results.items() if earlier.table == step.table}
    return reason_to_skip(step, before, no_new_steps=False, is_interrupted=False)


def _reason_to_stop(result: StepResult, on_failure: OnFailure) -> str | None:
    if result.status is StepStatus.DONE or result.step.kind is StepKind.DROP_LEFTOVER:
        return None
    if result.status is StepStatus.DETACHED or result.sqlstate == _CANCELLED:
        return "the run was stopped"
    return None if on_failure is OnFailure.CONTINUE else "another step failed"
