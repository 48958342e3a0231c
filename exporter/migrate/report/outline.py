"""Which sections each report has, and what stands in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from exporter.migrate.figures import (
    byte_size,
    duration,
    estimate_of,
    faster_by,
    moment,
    size_ratio,
    taken,
)
from exporter.migrate.report.summary import counted, decisions, next_steps, nothing_to_do, summary
from exporter.model import (
    Finding,
    IndexEstimate,
    IndexFacts,
    IndexState,
    ObservedIndex,
    Outcome,
    Plan,
    ProbeMeasurement,
    Step,
    StepKind,
    StepResult,
    StepStatus,
    Verdict,
    Wait,
    quote_identifier,
)
from exporter.text.content import NOT_KNOWN, Content, Item, Row, Section
from exporter.text.findings import criteria


def of_outcome(outcome: Outcome) -> Content:
    """Everything a run did and found."""
    sections = (
        (
            *_plan_sections(outcome.plan, outcome.command),
            criteria(outcome.findings),
            _preflight(outcome.preflight),
        )
        if outcome.dry_run
        else (
            _preflight(outcome.preflight),
            _results(outcome),
            _settled(outcome.plan, outcome.command),
            _refused(outcome.plan, outcome.command),
            _left_behind(outcome),
            _sizes(outcome),
            _probes(outcome),
            criteria(outcome.findings),
            _next(outcome),
        )
    )
    return Content(
        f"{outcome.command} {outcome.migration}",
        tuple(_origin(outcome)),
        summary(outcome),
        tuple(section for section in sections if section.items or section.rows),
    )


def _origin(outcome: Outcome) -> Iterator[str]:
    yield f"{outcome.address}, PostgreSQL {outcome.server_version}"
    yield f"run {outcome.run}, {moment(outcome.started_at)}, took {_took(outcome)}"
    if outcome.wal_bytes is not None:
        yield f"WAL written meanwhile by the whole server: {byte_size(outcome.wal_bytes)}"


def of_plan(plan: Plan, preflight: Sequence[Finding] = ()) -> Content:
    """What would be done, and what of the preflight did not pass."""
    command = "rollback" if any(step.kind is StepKind.DROP for step in plan.steps) else "init"
    sections = (*_plan_sections(plan, command), _preflight(preflight))
    told = f"{counted(len(plan.steps), 'step')} to do." if plan.steps else nothing_to_do(plan, command)
    return Content(
        f"plan {plan.migration}",
        (),
        (told, *decisions(plan)),
        tuple(section for section in sections if section.items),
    )


def _preflight(findings: Sequence[Finding]) -> Section:
    """What the preflight found wanting; the preflight command and JSON have all of it."""
    wanting = [finding for finding in findings if finding.verdict is not Verdict.PASS]
    return criteria(wanting, "To know before")


# Steps


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
_STATE_WORDS = {
    IndexState.ABSENT: "absent",
    IndexState.PRESENT: "present",
    IndexState.COVERED: "covered",
    IndexState.CONFLICT: "CONFLICT",
    IndexState.INCOMPLETE: "incomplete",
    IndexState.INVALID_OURS: "INVALID",
    IndexState.INVALID_FOREIGN: "INVALID",
    IndexState.BUILDING_OURS: "building",
    IndexState.BUILDING_FOREIGN: "building",
    IndexState.DROPPING_OURS: "dropping",
    IndexState.DEGRADED: "DEGRADED",
}


_SHORTEST_TOLD_SECONDS = 0.01


def _results(outcome: Outcome) -> Section:
    told = {result.step for result in outcome.results}
    items = [_result(result) for result in outcome.results]
    if outcome.results:
        items += [Item("skipped", _work_of(step)) for step in outcome.plan.steps if step not in told]
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
        _work_of(result.step),
        duration(result.seconds) if result.status is not StepStatus.SKIPPED else "",
        tuple(details),
        mend=result.mend,
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


def _work_of(step: Step) -> str:
    name = step.table.quoted if step.index is None else step.index.relation.quoted
    return f"{_VERBS[step.kind]} {name}"


def _left_behind(outcome: Outcome) -> Section:
    items = tuple(
        Item(_STATUS_LABELS[result.status], _work_of(result.step), mend=result.mend)
        for result in outcome.results
        if result.status in (StepStatus.LEFT_BEHIND, StepStatus.DEGRADED)
    )
    return Section("Left behind", items)


# The plan


def _plan_sections(plan: Plan, command: str) -> tuple[Section, ...]:
    steps = tuple(_planned(number, step) for number, step in enumerate(plan.steps, start=1))
    return Section("Steps", steps), _settled(plan, command), _refused(plan, command)


def _planned(number: int, step: Step) -> Item:
    details = [f"lock: {step.lock}", f"done when: {step.done_when}"]
    if step.undo is not None:
        details.append(f"undo: {step.undo}")
    return Item(f"{number}.", _work_of(step), details=tuple(details), sql=step.sql)


def _settled(plan: Plan, command: str) -> Section:
    title = "Left as they are" if command == "rollback" else "In place before"
    if command == "verify":
        return Section(title)
    items = tuple(
        Item(_STATE_WORDS[index.state], _name(index), details=(index.detail,)) for index in plan.settled
    )
    return Section(title, items)


def state_word(state: IndexState) -> str:
    """The state as a label."""
    return _STATE_WORDS[state]


def _refused(plan: Plan, command: str) -> Section:
    return Section("Needs a decision", tuple(_refusal(index, command) for index in plan.refused))


def _refusal(index: ObservedIndex, command: str) -> Item:
    details = [index.detail, *definitions(index)]
    mends = _rollback_mends(index) if command == "rollback" else init_mends(index)
    mend = mends.get(index.state, "wait until it ends, then try again")
    return Item(_STATE_WORDS[index.state], _name(index), details=tuple(details), mend=mend)


def init_mends(index: ObservedIndex) -> Mapping[IndexState, str]:
    """What a person can do about an index that init leaves alone, by its state."""
    return {
        IndexState.CONFLICT: "declare another name, or rename or drop what bears this one",
        IndexState.INVALID_FOREIGN: "init --adopt-invalid replaces it; or drop it: "
        f"DROP INDEX CONCURRENTLY {_name(index)}",
        IndexState.BUILDING_FOREIGN: "wait until it is built, then run init again",
    }


def _rollback_mends(index: ObservedIndex) -> Mapping[IndexState, str]:
    cancel = f"SELECT pg_cancel_backend({index.builder_pid})"
    # Only of a partitioned table: indexes of partitions that stood before would go with it.
    keep = "build equal indexes there under other names, concurrently; then drop it by hand: "
    keep += f"DROP INDEX {_name(index)}"
    return {
        IndexState.CONFLICT: "it is not the one that was built, so it stays; drop it by hand if it is to go",
        IndexState.BUILDING_OURS: f"wait until it is built, or end it: {cancel}; then run rollback again",
        IndexState.BUILDING_FOREIGN: "wait until that ends, then run rollback again",
        IndexState.PRESENT: keep,
        IndexState.INCOMPLETE: keep,
    }


# Figures


def _sizes(outcome: Outcome) -> Section:
    known = [index for index in outcome.facts if index.size_bytes is not None]
    estimates = [estimate_of(outcome, index) for index in known]
    # Only the run that built it estimated it.
    has_estimates = any(estimate is not None for estimate in estimates)
    rows = tuple(
        _size(index, _estimated(estimate) if has_estimates else None)
        for index, estimate in zip(known, estimates, strict=True)
    )
    columns = ("index", *(("estimate",) if has_estimates else ()), "table", "ratio", "limit")
    return Section("Sizes", columns=columns, rows=rows)


def _size(facts: IndexFacts, estimate: str | None) -> Row:
    ratio, limit = size_ratio(facts), facts.observed.declared.max_size_ratio
    return Row(
        _name(facts.observed),
        (
            _bytes(facts.size_bytes),
            *(() if estimate is None else (estimate,)),
            _bytes(facts.table_size_bytes),
            NOT_KNOWN if ratio is None else f"{ratio:.3f}",
            NOT_KNOWN if limit is None else f"{limit:.3f}",
        ),
    )


def _bytes(size_bytes: int | None) -> str:
    return NOT_KNOWN if size_bytes is None else byte_size(size_bytes)


def _estimated(estimate: IndexEstimate | None) -> str:
    if estimate is None:
        return NOT_KNOWN
    return ("~ " if estimate.is_rough else "") + byte_size(estimate.index_bytes)


def _probes(outcome: Outcome) -> Section:
    rows = tuple(
        _probe(before, after)
        for before, after in probe_pairs(outcome)
        if before is not None or after is not None
    )
    return Section("Probes", columns=("before", "after", "faster"), rows=rows)


def probe_pairs(
    outcome: Outcome,
) -> Iterator[tuple[ProbeMeasurement | None, ProbeMeasurement | None]]:
    """Each probe as measured before and after, in the order of the later measurement."""
    before = {(found.index_name, found.probe): found for found in outcome.before}
    after = {(found.index_name, found.probe): found for found in outcome.after}
    for key in dict.fromkeys([*after, *before]):
        yield before.get(key), after.get(key)


def _probe(before: ProbeMeasurement | None, after: ProbeMeasurement | None) -> Row:
    either = after or before
    if either is None:
        raise ValueError("a probe is measured before or after")
    figures = tuple(NOT_KNOWN if one is None else taken(one) or NOT_KNOWN for one in (before, after))
    note = "" if after is None else _plans(before, after)
    name = f"{quote_identifier(either.index_name)}, {either.probe}"
    return Row(name, (*figures, faster_by(before, after) or NOT_KNOWN), note)


def _plans(before: ProbeMeasurement | None, after: ProbeMeasurement) -> str:
    """How the plans read the table, before and after, and how many of them by the index."""
    nodes = [one.node for one in (before, after) if one is not None and one.node]
    told = " -> ".join(dict.fromkeys(nodes))
    plans = (
        "" if after.samples_using_index is None else f"{after.samples_using_index} of {after.samples} plans"
    )
    return ", ".join(part for part in (told, plans, after.reason, after.detail) if part)


# What next


def _next(outcome: Outcome) -> Section:
    return Section("What next", tuple(Item("", line) for line in next_steps(outcome)))


def definitions(index: ObservedIndex) -> tuple[str, ...]:
    """Both definitions where the one found differs from the one declared."""
    if index.state is not IndexState.CONFLICT or index.found_definition is None:
        return ()
    return f"found: {index.found_definition}", f"declared: {index.definition}"


def _name(index: ObservedIndex) -> str:
    return index.declared.relation.quoted


def _took(outcome: Outcome) -> str:
    return duration((outcome.finished_at - outcome.started_at).total_seconds())
