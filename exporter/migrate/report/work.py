"""Steps as a report tells them: what is planned, what became of it, whom it waited for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.model import Outcome, Step, StepKind, StepResult, StepStatus, Wait
from exporter.text.content import Item, Section
from exporter.text.figures import duration

_STATUS_LABELS = {
    StepStatus.DONE: "done",
    StepStatus.FAILED: "FAILED",
    StepStatus.LEFT_BEHIND: "LEFT",
    StepStatus.DEGRADED: "DEGRADED",
    StepStatus.HALTED: "HALTED",
    StepStatus.SKIPPED: "skipped",
    StepStatus.DETACHED: "goes on",
}
_VERBS = {
    StepKind.BUILD: "build",
    StepKind.ADOPT: "follow the build of",
    StepKind.DROP_INVALID: "clean up the INVALID",
    StepKind.DROP_LEFTOVER: "drop what was set aside INVALID:",
    StepKind.DROP: "drop",
    StepKind.ANALYZE: "analyze",
    StepKind.CREATE_PARENT: "create, without its partitions,",
    StepKind.ATTACH: "attach",
    StepKind.DROP_PARENT: "drop, with its partitions,",
}
_SHORTEST_TOLD_SECONDS = 0.01


def planned(steps: Sequence[Step]) -> Section:
    """Every step with its SQL, lock, end and undo."""
    return Section("Steps", tuple(_planned(steps)))


def _planned(steps: Sequence[Step]) -> Iterator[Item]:
    told: dict[tuple[str, str], int] = {}
    for number, step in enumerate(steps, start=1):
        first = told.setdefault((step.lock, step.done_when), number)
        details = (
            [f"lock: {step.lock}", f"done when: {step.done_when}"]
            if first == number
            else [f"lock and end: as in step {first}"]
        )
        if step.undo is not None:
            details.append(f"undo: {step.undo}")
        yield Item(f"{number}.", work_of(step), details=tuple(details), sql=step.sql)


def results(outcome: Outcome) -> Section:
    """What became of every step."""
    told = {result.step for result in outcome.results}
    items = [_result(result) for result in outcome.results]
    if outcome.results:
        items += [Item("skipped", work_of(step)) for step in outcome.plan.steps if step not in told]
    return Section("Steps", tuple(items))


def _result(result: StepResult) -> Item:
    details = []
    # Seen once is not timed; JSON has those too.
    timed = [time for time in result.phases if time.seconds >= _SHORTEST_TOLD_SECONDS]
    if timed:
        details.append(", ".join(f"{_phase(time.phase)} {duration(time.seconds)}" for time in timed))
    details += [_wait(wait) for wait in sorted(result.waits, key=lambda wait: -wait.seconds)]
    if result.attempts > 1:
        details.append(f"{result.attempts} attempts")
    if result.message is not None:
        details.append(result.message + (f" (SQLSTATE {result.sqlstate})" if result.sqlstate else ""))
    return Item(
        _STATUS_LABELS[result.status],
        work_of(result.step),
        duration(result.seconds) if result.status is not StepStatus.SKIPPED else "",
        tuple(details),
        hint=result.hint,
    )


def _wait(wait: Wait) -> str:
    who = "a prepared transaction" if wait.pid is None else f"pid {wait.pid}"
    if wait.usename is not None:
        who += f", user {wait.usename}"
    for part in (wait.application_name, wait.query):
        who += f", {part}" if part else ""
    return f"waited {duration(wait.seconds)} for {who}"


def _phase(phase: str) -> str:
    """PostgreSQL's name of a phase, shortened; JSON has it in full."""
    return phase.removeprefix("building index: ").replace("index validation: ", "validation: ")


def work_of(step: Step) -> str:
    """What the step does to what."""
    name = step.table.quoted if step.index is None else step.index.relation.quoted
    return f"{_VERBS[step.kind]} {name}"


def left_behind(outcome: Outcome) -> Section:
    """What costs writes, or serves no query, until it is cleaned up."""
    items = tuple(
        Item(
            _STATUS_LABELS[result.status],
            work_of(result.step),
            details=(result.message,) if result.message else (),
        )
        for result in outcome.results
        if result.status in (StepStatus.LEFT_BEHIND, StepStatus.DEGRADED)
    )
    return Section("Left behind", items)
