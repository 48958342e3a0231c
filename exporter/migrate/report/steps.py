"""The steps of a run: planned, with their results, and left behind. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from exporter.model import IndexEstimate, Outcome, Step, StepKind, StepResult, StepStatus, Wait
from exporter.text import plain
from exporter.text.content import Item, Section
from exporter.text.figures import byte_size, duration

_STATUS_LABELS = {
    StepStatus.DONE: "done",
    StepStatus.FAILED: "FAILED",
    StepStatus.LEFT_BEHIND: "LEFTOVER",
    StepStatus.DEGRADED: "DEGRADED",
    StepStatus.HALTED: "HALTED",
    StepStatus.SKIPPED: "skipped",
    StepStatus.DETACHED: "running",
}
_VERBS = {
    StepKind.BUILD: "build",
    StepKind.ADOPT: "follow the running build of",
    StepKind.DROP_INVALID: "drop the INVALID index",
    StepKind.DROP_LEFTOVER: "drop the leftover",
    StepKind.DROP: "drop",
    StepKind.ANALYZE: "analyze",
    StepKind.CREATE_PARENT: "create the partitioned index",
    StepKind.ATTACH: "attach",
    StepKind.DROP_PARENT: "drop the partitioned index",
}
_SHORTEST_SHOWN_SECONDS = 0.01
# Zero is a step or wait that was over before it was timed.
_SHORTEST_MEASURED_SECONDS = 0.00001


def planned(steps: Sequence[Step], estimates: Sequence[IndexEstimate] = ()) -> Section:
    """Return every step with its SQL, its lock, how to undo it and, of a build, its estimate."""
    return Section("Steps", tuple(_planned(steps, estimates)))


def _planned(steps: Sequence[Step], estimates: Sequence[IndexEstimate]) -> Iterator[Item]:
    shown: dict[tuple[str, str], int] = {}
    for number, step in enumerate(steps, start=1):
        first = shown.setdefault((step.lock, step.done_when), number)
        details = (
            [f"lock: {step.lock}", f"done when: {step.done_when}"]
            if first == number
            else [f"lock, done when: as in step {first}"]
        )
        if step.undo is not None:
            details.append(f"undo: {step.undo}")
        if step.kind is StepKind.BUILD:
            details += [estimated(one) for one in estimates if one.index == step.index]
        yield Item(f"{number}.", work_of(step), details=tuple(details), sql=step.sql)


def as_text(step: Step, number: int, count: int, width: int) -> str:
    """Return one step with its SQL, lock and undo, for a question about it."""
    (item,) = _planned((step,), ())
    return plain.write_item(replace(item, label=f"{number}/{count}"), width)


def estimated_duration(seconds: float) -> str:
    """Return an estimated span of time, no more exact than it is."""
    return "less than 1 s" if seconds < 1 else duration(seconds)


def estimated(estimate: IndexEstimate) -> str:
    """Return the estimate of one build in words."""
    sizes = (
        ("index", estimate.index_bytes),
        ("temporary files", estimate.temporary_bytes),
        ("WAL", estimate.wal_bytes),
    )
    figures = [
        estimated_duration(estimate.seconds),
        *(f"{what} {byte_size(size_bytes)}" for what, size_bytes in sizes if size_bytes),
    ]
    return f"estimate{' (rough)' if estimate.is_rough else ''}, at most: {', '.join(figures)}"


def results(outcome: Outcome) -> Section:
    """Return every step with its result."""
    started = {result.step for result in outcome.results}
    items = [_result(result) for result in outcome.results]
    if outcome.results:
        items += [Item("skipped", work_of(step)) for step in outcome.plan.steps if step not in started]
    return Section("Steps", tuple(items))


def _result(result: StepResult) -> Item:
    details = []
    # A phase that was observed once has no duration; JSON lists it too.
    timed = [time for time in result.phases if time.seconds >= _SHORTEST_SHOWN_SECONDS]
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
        duration(result.seconds) if result.seconds >= _SHORTEST_MEASURED_SECONDS else "",
        tuple(details),
        hint=result.hint,
    )


def _wait(wait: Wait) -> str:
    who = "a prepared transaction" if wait.pid is None else f"pid {wait.pid}"
    if wait.usename is not None:
        who += f", user {wait.usename}"
    for part in (wait.application_name, wait.query):
        who += f", {part}" if part else ""
    measured = f" {duration(wait.seconds)}" if wait.seconds >= _SHORTEST_MEASURED_SECONDS else ""
    return f"waited{measured} for {who}"


def _phase(phase: str) -> str:
    """Return PostgreSQL's name of a phase, shortened; JSON has the full name."""
    return phase.removeprefix("building index: ").replace("index validation: ", "validation: ")


def work_of(step: Step) -> str:
    """Return what the step does, and to which index or table."""
    name = step.table.quoted if step.index is None else step.index.relation.quoted
    return f"{_VERBS[step.kind]} {name}"


def left_behind(outcome: Outcome) -> Section:
    """Return the indexes that cost writes and serve no query until they are dropped."""
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
