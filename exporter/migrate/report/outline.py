"""Which sections each report has, and in which order: what it came to, what to do next, then the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.migrate.report import decisions, tables, work
from exporter.migrate.report.exit_codes import is_refused
from exporter.migrate.report.summary import needed_decisions, next_steps, nothing_to_do, summary, work_to_do
from exporter.model import Finding, Outcome, Plan, StepKind, Verdict
from exporter.text.content import Content, Item, Section
from exporter.text.figures import byte_size, duration, estimated_wal_bytes, moment
from exporter.text.findings import criteria


def of_outcome(outcome: Outcome) -> Content:
    """Everything a run did and found."""
    plan, command = outcome.plan, outcome.command
    found = criteria(outcome.findings)
    preflight = _wanting(outcome.preflight)
    # Of a run that was refused the reason comes first; of any other it is for the record.
    early, late = ((preflight,), ()) if is_refused(outcome) else ((), (preflight,))
    done = (
        (work.planned(plan.steps), decisions.settled(plan, command), found)
        if outcome.dry_run
        else (
            work.results(outcome),
            decisions.settled(plan, command),
            tables.sizes(outcome),
            tables.probes(outcome),
            found,
        )
    )
    sections = (
        _next(outcome),
        decisions.refused(plan, command),
        work.left_behind(outcome),
        *early,
        *done,
        *late,
    )
    return Content(
        f"{command} {outcome.migration}",
        tuple(_origin(outcome)),
        summary(outcome),
        tuple(section for section in sections if section.items or section.rows),
    )


def _origin(outcome: Outcome) -> Iterator[str]:
    yield f"{outcome.address}, PostgreSQL {outcome.server_version}"
    took = (outcome.finished_at - outcome.started_at).total_seconds()
    yield f"run {outcome.run}, {moment(outcome.started_at)}, took {duration(took)}"
    if outcome.wal_bytes is not None:
        wal = f"WAL written by the whole server while the steps ran: {byte_size(outcome.wal_bytes)}"
        expected = estimated_wal_bytes(outcome)
        yield wal if expected is None else f"{wal} (estimate of the builds' own: {byte_size(expected)})"


def of_plan(plan: Plan, preflight: Sequence[Finding] = (), origin: Sequence[str] = ()) -> Content:
    """What would be done, where, and what of the preflight did not pass."""
    command = "rollback" if any(step.kind is StepKind.DROP for step in plan.steps) else "init"
    sections = (
        work.planned(plan.steps),
        decisions.settled(plan, command),
        decisions.refused(plan, command),
        _wanting(preflight),
    )
    told = work_to_do(plan) if plan.steps else nothing_to_do(plan, command)
    return Content(
        f"plan {plan.migration}",
        tuple(origin),
        (told, *needed_decisions(plan)),
        tuple(section for section in sections if section.items),
    )


def _wanting(findings: Sequence[Finding]) -> Section:
    """What the preflight found wanting; the preflight command and JSON have all of it."""
    wanting = [finding for finding in findings if finding.verdict is not Verdict.PASS]
    return criteria(wanting, "Preflight")


def _next(outcome: Outcome) -> Section:
    return Section("What next", tuple(Item("", line) for line in next_steps(outcome)))
