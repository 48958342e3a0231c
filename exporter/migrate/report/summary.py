"""What a run came to, in sentences: what was done, what was found, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.migrate.report.verdict import HALTED, LEFT_BEHIND, exit_code, is_refused
from exporter.model import Outcome, Plan, StepKind, StepResult, StepStatus
from exporter.text.findings import tally

_STATUS_SUMMARIES = {
    StepStatus.DEGRADED: "stopped half-way and left an index degraded: no query may use it",
    StepStatus.LEFT_BEHIND: "failed and left something behind",
    StepStatus.HALTED: "stopped for a decision by a person",
    StepStatus.FAILED: "failed and left nothing behind",
    StepStatus.DETACHED: "left to the server, which goes on",
    StepStatus.SKIPPED: "not started",
}
_KIND_SUMMARIES = {
    StepKind.DROP_INVALID: ("INVALID index", "cleaned up"),
    StepKind.DROP_LEFTOVER: ("INVALID index", "cleaned up"),
    StepKind.BUILD: ("index", "built"),
    StepKind.ADOPT: ("running build", "followed to its end"),
    StepKind.DROP: ("index", "dropped"),
    StepKind.CREATE_PARENT: ("partitioned index", "begun"),
    StepKind.ATTACH: ("index", "attached"),
    StepKind.DROP_PARENT: ("partitioned index", "dropped"),
    StepKind.ANALYZE: ("table", "analyzed"),
}


def summary(outcome: Outcome) -> tuple[str, ...]:
    """What the run came to, the most important first; each a sentence."""
    lines = [*_work(outcome), *decisions(outcome.plan)]
    if outcome.findings:
        lines.append(tally(outcome.findings))
    return tuple(lines)


def _work(outcome: Outcome) -> Iterator[str]:
    plan = outcome.plan
    if is_refused(outcome) and not (outcome.dry_run and outcome.command == "rollback"):
        work = "drop" if outcome.command == "rollback" else "build"
        yield f"Nothing was touched: what must hold before a {work} does not."
    elif outcome.dry_run:
        yield "Nothing was touched: this is the plan only."
        if not plan.steps:
            yield nothing_to_do(plan, outcome.command)
    elif outcome.results:
        yield from _work_by_status(outcome.results)
    elif outcome.command != "verify":
        yield nothing_to_do(plan, outcome.command)


def _work_by_status(results: Sequence[StepResult]) -> Iterator[str]:
    statuses = [result.status for result in results]
    for status, words in _STATUS_SUMMARIES.items():
        if status in statuses:
            yield f"{counted(statuses.count(status), 'step')} {words}."
    kinds = [result.step.kind for result in results if result.status is StepStatus.DONE]
    works = [
        f"{counted(kinds.count(kind), noun)} {verb}"
        for kind, (noun, verb) in _KIND_SUMMARIES.items()
        if kind in kinds
    ]
    if works:
        yield f"{', '.join(works)}."


def nothing_to_do(plan: Plan, command: str) -> str:
    """Why a plan without steps has none."""
    if command == "rollback":
        return "Nothing to do: no index stands that this migration created."
    if plan.refused:
        return "Nothing was done."
    return f"Nothing to do: {counted(len(plan.settled), 'declared index')}, all in place."


def decisions(plan: Plan) -> tuple[str, ...]:
    """How many indexes wait for a person; nothing when there is none."""
    count = len(plan.refused)
    return (f"{counted(count, 'index')} {'needs' if count == 1 else 'need'} a decision.",) if count else ()


def next_steps(outcome: Outcome) -> tuple[str, ...]:
    """What to do now, as sentences; what belongs to one step or finding stands there as its mend."""
    code = exit_code(outcome)
    if code == LEFT_BEHIND:
        return ("Run the same command again: it cleans up what was left behind and goes on.",)
    if any(result.status is StepStatus.DETACHED for result in outcome.results):
        return ("Run the same command again: it follows what the server goes on with.",)
    if code == HALTED:
        return ("Decide what stands under 'Needs a decision' or HALTED, then run the same command again.",)
    if code:
        return ("Do what the arrows say, then run the same command again: what is done is not done twice.",)
    if outcome.command == "rollback" and outcome.results:
        return (
            "Take the manifest away from where serve has it: what it declares and is absent pages as "
            "DatabaseIndexMissing.",
        )
    if outcome.command == "init":
        return (
            "pg-index-exporter serve publishes whether the indexes are used.",
            "pg-index-exporter verify judges the criteria again at any time.",
        )
    return ()


def counted(number: int, noun: str) -> str:
    """The number with its noun, in the plural where it is not one."""
    plural = f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
