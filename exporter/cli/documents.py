"""The results of the change line as documents, each in its three forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.cli.output import Document
from exporter.migrate import report
from exporter.migrate.report import PlanReport
from exporter.migrate.run import now
from exporter.migrate.status import Status
from exporter.model import Database, Outcome, Readiness
from exporter.postgres.target import address

if TYPE_CHECKING:
    # status and verify would load every check of the preflight with it.
    from exporter.migrate.assessment import Assessment


def outcome_document(outcome: Outcome, *, with_plans: bool = False) -> Document:
    """The report of init, verify or rollback; Markdown and JSON always have the plans of its probes."""
    return Document(
        lambda width: report.as_text(outcome, width, with_plans=with_plans),
        lambda: report.as_markdown(outcome),
        lambda: report.as_json(outcome),
    )


def readiness_document(readiness: Readiness) -> Document:
    """The result of preflight."""
    forms = report.PREFLIGHT_FORMS
    return Document(
        lambda width: forms["text"](readiness, width),
        lambda: forms["markdown"](readiness),
        lambda: forms["json"](readiness),
    )


def status_document(status: Status) -> Document:
    """The result of status."""
    return Document(
        lambda width: report.status_as_text(status, width),
        lambda: report.status_as_markdown(status),
        lambda: report.status_as_json(status),
    )


def plan_report_of(database: Database, assessment: Assessment) -> PlanReport:
    """The plan of one look at a database."""
    return PlanReport(
        assessment.plan,
        database.datname,
        address(database),
        assessment.facts.server_version,
        now(),
        assessment.preflight,
        assessment.estimates,
    )


def plan_document(shown: PlanReport) -> Document:
    """The result of plan."""
    return Document(
        lambda width: report.plan_as_text(shown, width),
        lambda: report.plan_as_markdown(shown),
        lambda: report.plan_as_json(shown),
    )
