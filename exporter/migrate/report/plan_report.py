"""The result of `plan` as sections of text, as JSON and as an exit code. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from exporter.migrate.report import decisions, json_report, steps
from exporter.migrate.report.exit_codes import DONE, FAILED
from exporter.migrate.report.summary import needed_decisions, nothing_to_do, work_to_do
from exporter.model import Finding, IndexEstimate, Plan, StepKind, Verdict
from exporter.text.content import Content
from exporter.text.figures import byte_size, moment
from exporter.text.findings import as_object, criteria

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A plan with its database, the findings of preflight and the estimates of its builds."""

    plan: Plan
    datname: str
    address: str
    server_version: str
    at: datetime
    preflight: tuple[Finding, ...] = ()
    estimates: tuple[IndexEstimate, ...] = ()


def exit_code(report: PlanReport) -> int:
    """Return 0 if init would start, 1 if preflight would refuse it."""
    return FAILED if _failed(report) else DONE


def content_of(report: PlanReport) -> Content:
    """Return the plan as sections: summary, steps, decisions, and preflight checks that did not pass."""
    plan = report.plan
    command = "rollback" if any(step.kind is StepKind.DROP for step in plan.steps) else "init"
    not_passed = [finding for finding in report.preflight if finding.verdict is not Verdict.PASS]
    preflight = criteria(not_passed, "Preflight")
    planned = (
        steps.planned(plan.steps, report.estimates),
        decisions.settled(plan, command),
        decisions.refused(plan, command),
    )
    sections = (preflight, *planned) if _failed(report) else (*planned, preflight)
    return Content(
        f"plan {plan.migration}",
        (f"{report.address}, PostgreSQL {report.server_version}", moment(report.at)),
        tuple(_summary(report, command)),
        tuple(section for section in sections if section.items),
    )


def as_json(report: PlanReport) -> str:
    """Return the plan as JSON with stable keys, described in docs/report.md; ASCII only."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "command": "plan",
        "migration": report.plan.migration,
        "datname": report.datname,
        "address": report.address,
        "server_version": report.server_version,
        "at": report.at.isoformat(),
        "exit_code": exit_code(report),
        "summary": list(_summary(report, "init")),
        "plan": json_report.plan_object(report.plan),
        "estimates": [_estimate(estimate) for estimate in report.estimates],
        "preflight": [as_object(finding) for finding in report.preflight],
    }
    return json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _estimate(estimate: IndexEstimate) -> dict[str, object]:
    return {
        "schemaname": estimate.index.table.schemaname,
        "relname": estimate.index.table.relname,
        "indexname": estimate.index.name,
        "index_bytes": estimate.index_bytes,
        "temporary_bytes": estimate.temporary_bytes,
        "wal_bytes": estimate.wal_bytes,
        "seconds": estimate.seconds,
        "row_count": estimate.row_count,
        "is_rough": estimate.is_rough,
    }


def _failed(report: PlanReport) -> list[Finding]:
    return [finding for finding in report.preflight if finding.verdict is Verdict.FAIL]


def _summary(report: PlanReport, command: str) -> Iterator[str]:
    plan = report.plan
    if _failed(report):
        yield "init would refuse to start here: preflight checks failed."
    if plan.steps or not _failed(report):
        yield work_to_do(plan) if plan.steps else nothing_to_do(plan, command)
    if report.estimates:
        yield _total(report.estimates)
    yield from needed_decisions(plan)


def _total(estimates: tuple[IndexEstimate, ...]) -> str:
    size = byte_size(sum(one.index_bytes for one in estimates))
    wal = byte_size(sum(one.wal_bytes for one in estimates))
    time = steps.estimated_duration(sum(one.seconds for one in estimates))
    return f"Estimate of all builds, at most: {time} of work, {size} of indexes, {wal} of WAL."
