"""The sections of each report and their order: summary, next steps, then the details. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.migrate.report import decisions, steps, tables
from exporter.migrate.report.exit_codes import is_refused
from exporter.migrate.report.summary import next_steps, summary
from exporter.model import Finding, Outcome, Verdict
from exporter.text.content import Content, Item, Section
from exporter.text.figures import byte_size, duration, estimated_wal_bytes, moment
from exporter.text.findings import criteria, is_without_source


def of_outcome(outcome: Outcome, *, with_plans: bool = True) -> Content:
    """Return the report of a run, with the plans of its probes or without."""
    plan, command = outcome.plan, outcome.command
    verified = criteria(outcome.findings)
    preflight = _not_passed(_not_shown_yet(outcome))
    # In a refused run the reason comes first.
    early, late = ((preflight,), ()) if is_refused(outcome) else ((), (preflight,))
    done = (
        (steps.planned(plan.steps, outcome.estimates), decisions.settled(plan, command), verified)
        if outcome.dry_run
        else (
            steps.results(outcome),
            decisions.settled(plan, command),
            tables.sizes(outcome),
            tables.probes(outcome),
            verified,
            *((tables.plans(outcome),) if with_plans else ()),
        )
    )
    sections = (
        _next(outcome),
        decisions.refused(plan, command),
        steps.left_behind(outcome),
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
        wal = f"WAL of the whole server during the steps: {byte_size(outcome.wal_bytes)}"
        expected = estimated_wal_bytes(outcome)
        yield wal if expected is None else f"{wal} (estimate for the builds: {byte_size(expected)})"


def _not_passed(findings: Sequence[Finding]) -> Section:
    """Return the checks that did not pass; the preflight command and JSON list all."""
    return criteria([finding for finding in findings if finding.verdict is not Verdict.PASS], "Preflight")


def _not_shown_yet(outcome: Outcome) -> Sequence[Finding]:
    """Return the checks of preflight; after a run without those for which no source is configured."""
    if not outcome.results:
        return outcome.preflight
    # The plan of the run has shown them.
    return [finding for finding in outcome.preflight if not is_without_source(finding)]


def _next(outcome: Outcome) -> Section:
    return Section("Next steps", tuple(Item("", line) for line in next_steps(outcome)))
