"""The result of a run in sentences: what was done, what was verified, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.migrate.report.exit_codes import HALTED, LEFT_BEHIND, exit_code, is_refused
from exporter.model import Outcome, Plan, StepKind, StepResult, StepStatus, Verdict
from exporter.text.findings import tally

# A hint names so many indexes; each step and finding repeats its own hint.
MOST_NAMES = 3

_STATUS_SUMMARIES = {
    StepStatus.DEGRADED: "stopped half-way: a valid index is INVALID now, no query can use it",
    StepStatus.LEFT_BEHIND: "failed and left something behind",
    StepStatus.HALTED: "stopped and needs a decision",
    StepStatus.FAILED: "failed and left nothing behind",
    StepStatus.DETACHED: "still running in the server",
    StepStatus.SKIPPED: "not started",
}
# Noun, verb, participle.
_KIND_SUMMARIES = {
    StepKind.DROP_INVALID: ("INVALID index", "drop", "dropped"),
    StepKind.DROP_LEFTOVER: ("leftover", "drop", "dropped"),
    StepKind.CREATE_PARENT: ("partitioned index", "create", "created"),
    StepKind.BUILD: ("index", "build", "built"),
    StepKind.ADOPT: ("running build", "follow", "followed"),
    StepKind.ATTACH: ("index", "attach", "attached"),
    StepKind.DROP: ("index", "drop", "dropped"),
    StepKind.DROP_PARENT: ("partitioned index", "drop", "dropped"),
    StepKind.ANALYZE: ("table", "analyze", "analyzed"),
}


def summary(outcome: Outcome) -> tuple[str, ...]:
    """Return the result of the run in sentences, the most important first."""
    lines = [*_work(outcome), *needed_decisions(outcome.plan)]
    if outcome.findings:
        lines.append(tally(outcome.findings))
    return tuple(lines)


def _work(outcome: Outcome) -> Iterator[str]:
    plan = outcome.plan
    if is_refused(outcome) and not (outcome.dry_run and outcome.command == "rollback"):
        yield "Nothing changed: preflight checks failed."
    elif outcome.dry_run:
        yield "Nothing changed: dry run."
        yield work_to_do(plan) if plan.steps else nothing_to_do(plan, outcome.command)
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
        for kind, (noun, _, verb) in _KIND_SUMMARIES.items()
        if kind in kinds
    ]
    if works:
        yield f"{', '.join(works)}."


def work_to_do(plan: Plan) -> str:
    """Return the work of a plan in a sentence."""
    kinds = [step.kind for step in plan.steps]
    works = [
        f"{verb} {counted(kinds.count(kind), noun)}"
        for kind, (noun, verb, _) in _KIND_SUMMARIES.items()
        if kind in kinds
    ]
    return f"{counted(len(kinds), 'step')} to do: {', '.join(works)}."


def nothing_to_do(plan: Plan, command: str) -> str:
    """Return why a plan has no steps."""
    if command == "rollback":
        return "Nothing to do: this migration has created no index that still exists."
    if plan.refused:
        return "Nothing changed."
    return f"Nothing to do: {counted(len(plan.settled), 'declared index')}, all in place."


def needed_decisions(plan: Plan) -> tuple[str, ...]:
    """Return how many indexes need a decision, empty if none does."""
    count = len(plan.refused)
    return (f"{counted(count, 'index')} {'needs' if count == 1 else 'need'} a decision.",) if count else ()


def next_steps(outcome: Outcome) -> tuple[str, ...]:
    """Return what to do now in sentences: first the hints by index, then how to continue."""
    return (*_hints(outcome), *_continue(outcome))


def _continue(outcome: Outcome) -> Iterator[str]:
    code = exit_code(outcome)
    again = "Run the same command again"
    if is_refused(outcome):
        yield f"Then run {outcome.command} again."
    elif outcome.dry_run:
        if outcome.plan.steps:
            yield f"Run {outcome.command} without --dry-run to do what the plan says."
    elif code == LEFT_BEHIND:
        yield f"{again}: it drops what was left behind and continues."
    elif any(result.status is StepStatus.DETACHED for result in outcome.results):
        yield f"{again} to follow the running work; status shows its progress."
    elif code == HALTED:
        yield "Resolve the conflicts, then rerun; finished steps are skipped."
    elif code and outcome.command != "rollback" and _is_all_done(outcome):
        yield "Then run verify again."
    elif code:
        yield f"{again}; finished steps are skipped."
    else:
        yield from _after_success(outcome)


def _is_all_done(outcome: Outcome) -> bool:
    """Return True if all steps are done, so that only a criterion failed."""
    return all(result.status is StepStatus.DONE for result in outcome.results)


def _after_success(outcome: Outcome) -> Iterator[str]:
    unknown = sum(finding.verdict is Verdict.UNKNOWN for finding in outcome.findings)
    if unknown:
        criteria = "1 criterion is" if unknown == 1 else f"{unknown} criteria are"
        yield f"{criteria} unknown; the hints below say what is missing."
    if outcome.command == "rollback" and outcome.results:
        yield (
            "Remove the manifest from the settings of pg-index-exporter serve, or DatabaseIndexMissing "
            "will fire."
        )
    elif outcome.command == "init":
        yield "Run pg-index-exporter serve to publish whether the indexes are used."
        yield "Run pg-index-exporter verify at any time to check the criteria again."


def _hints(outcome: Outcome) -> Iterator[str]:
    """Yield each hint of what failed once, with the names it applies to."""
    names_by_hint: dict[str, list[str]] = {}
    for name, hint in (*_hints_of_steps(outcome), *_hints_of_findings(outcome)):
        names = names_by_hint.setdefault(hint, [])
        if name not in names:
            names.append(name)
    for hint, names in names_by_hint.items():
        more = len(names) - MOST_NAMES
        yield f"{', '.join(names[:MOST_NAMES])}{f' and {more} more' if more > 0 else ''}: {hint}"


def _hints_of_steps(outcome: Outcome) -> Iterator[tuple[str, str]]:
    for result in outcome.results:
        step = result.step
        # Detached steps share one sentence.
        if result.hint is not None and result.status not in (StepStatus.DONE, StepStatus.DETACHED):
            yield step.table.quoted if step.index is None else step.index.relation.quoted, result.hint


def _hints_of_findings(outcome: Outcome) -> Iterator[tuple[str, str]]:
    for finding in (*outcome.preflight, *outcome.findings):
        if finding.verdict is Verdict.FAIL and finding.hint is not None:
            yield finding.subject, finding.hint


def counted(number: int, noun: str) -> str:
    """Return the number with its noun, in the plural unless it is 1."""
    plural = f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
