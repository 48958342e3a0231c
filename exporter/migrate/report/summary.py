"""What a run came to, in sentences: what was done, what was found, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.migrate.report.exit_codes import HALTED, LEFT_BEHIND, exit_code, is_refused
from exporter.model import Outcome, Plan, StepKind, StepResult, StepStatus, Verdict
from exporter.text.findings import tally

# Of a hint that many need, so many are named; each stands at its step or finding as well.
MOST_NAMES = 3

_STATUS_SUMMARIES = {
    StepStatus.DEGRADED: "stopped half-way and left an index degraded: no query may use it",
    StepStatus.LEFT_BEHIND: "failed and left something behind",
    StepStatus.HALTED: "stopped for a decision by a person",
    StepStatus.FAILED: "failed and left nothing behind",
    StepStatus.DETACHED: "left to the server, which goes on",
    StepStatus.SKIPPED: "not started",
}
# What it works on, what is to be done with it, and what was.
_KIND_SUMMARIES = {
    StepKind.DROP_INVALID: ("INVALID index", "clean up", "cleaned up"),
    StepKind.DROP_LEFTOVER: ("leftover", "drop", "dropped"),
    StepKind.CREATE_PARENT: ("partitioned index", "begin", "begun"),
    StepKind.BUILD: ("index", "build", "built"),
    StepKind.ADOPT: ("running build", "follow", "followed to its end"),
    StepKind.ATTACH: ("index", "attach", "attached"),
    StepKind.DROP: ("index", "drop", "dropped"),
    StepKind.DROP_PARENT: ("partitioned index", "drop", "dropped"),
    StepKind.ANALYZE: ("table", "analyze", "analyzed"),
}


def summary(outcome: Outcome) -> tuple[str, ...]:
    """What the run came to, the most important first; each a sentence."""
    lines = [*_work(outcome), *needed_decisions(outcome.plan)]
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
    """What the steps of a plan come to, as a sentence."""
    kinds = [step.kind for step in plan.steps]
    works = [
        f"{verb} {counted(kinds.count(kind), noun)}"
        for kind, (noun, verb, _) in _KIND_SUMMARIES.items()
        if kind in kinds
    ]
    return f"{counted(len(kinds), 'step')} to do: {', '.join(works)}."


def nothing_to_do(plan: Plan, command: str) -> str:
    """Why a plan without steps has none."""
    if command == "rollback":
        return "Nothing to do: no index stands that this migration created."
    if plan.refused:
        return "Nothing was done."
    return f"Nothing to do: {counted(len(plan.settled), 'declared index')}, all in place."


def needed_decisions(plan: Plan) -> tuple[str, ...]:
    """How many indexes wait for a person; nothing when there is none."""
    count = len(plan.refused)
    return (f"{counted(count, 'index')} {'needs' if count == 1 else 'need'} a decision.",) if count else ()


def next_steps(outcome: Outcome) -> tuple[str, ...]:
    """What to do now, as sentences: first what stands in the way, by name, then how to go on."""
    return (*_hints(outcome), *_going_on(outcome))


def _going_on(outcome: Outcome) -> Iterator[str]:
    code = exit_code(outcome)
    again = "Run the same command again"
    if is_refused(outcome):
        yield f"Then run {outcome.command} again."
    elif outcome.dry_run:
        if outcome.plan.steps:
            yield f"Run {outcome.command} without --dry-run to do what the plan says."
    elif code == LEFT_BEHIND:
        yield f"{again}: it cleans up what was left behind and goes on."
    elif any(result.status is StepStatus.DETACHED for result in outcome.results):
        yield f"{again}: it follows what the server goes on with. Until then status shows how far that is."
    elif code == HALTED:
        yield f"{again} once what needs a decision is decided: what is done is not done twice."
    elif code and outcome.command != "rollback" and _is_all_done(outcome):
        yield "Then run verify again."
    elif code:
        yield f"{again}: what is done is not done twice."
    else:
        yield from _after_success(outcome)


def _is_all_done(outcome: Outcome) -> bool:
    """True when no step is left: what failed is a criterion."""
    return all(result.status is StepStatus.DONE for result in outcome.results)


def _after_success(outcome: Outcome) -> Iterator[str]:
    unknown = sum(finding.verdict is Verdict.UNKNOWN for finding in outcome.findings)
    if unknown:
        told = "1 criterion is" if unknown == 1 else f"{unknown} criteria are"
        yield f"{told} unknown: see below what would decide it."
    if outcome.command == "rollback" and outcome.results:
        yield (
            "Take the manifest away from where serve has it: what it declares and is absent pages as "
            "DatabaseIndexMissing."
        )
    elif outcome.command == "init":
        yield "pg-index-exporter serve publishes whether the indexes are used."
        yield "pg-index-exporter verify judges the criteria again at any time."


def _hints(outcome: Outcome) -> Iterator[str]:
    """What to do about everything that failed, each once with the names that it is for."""
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
        # Of what the server goes on with there is one word for all.
        if result.hint is not None and result.status not in (StepStatus.DONE, StepStatus.DETACHED):
            yield step.table.quoted if step.index is None else step.index.relation.quoted, result.hint


def _hints_of_findings(outcome: Outcome) -> Iterator[tuple[str, str]]:
    for finding in (*outcome.preflight, *outcome.findings):
        if finding.verdict is Verdict.FAIL and finding.hint is not None:
            yield finding.subject, finding.hint


def counted(number: int, noun: str) -> str:
    """The number with its noun, in the plural where it is not one."""
    plural = f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
