"""An Outcome as text for a terminal, as Markdown and as JSON, and its exit code. Pure.

`sections` composes text and Markdown from the nouns of `exporter.text`; `json_report` writes the JSON.
`preflight_report` and `status_report` do the same for the results of those commands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exporter.migrate.report import json_report, plan_report, preflight_report, sections, status_report
from exporter.migrate.report.exit_codes import exit_code, preflight_exit_code
from exporter.migrate.report.plan_report import PlanReport
from exporter.migrate.report.steps import as_text as step_as_text
from exporter.migrate.report.summary import summary, work_to_do
from exporter.migrate.status import Status
from exporter.model import Outcome
from exporter.text import markdown, plain

__all__ = [
    "PREFLIGHT_FORMS",
    "PlanReport",
    "as_json",
    "as_markdown",
    "as_text",
    "exit_code",
    "plan_as_json",
    "plan_as_markdown",
    "plan_as_text",
    "plan_exit_code",
    "preflight_exit_code",
    "status_as_json",
    "status_as_markdown",
    "status_as_text",
    "status_exit_code",
    "step_as_text",
    "summary",
    "work_to_do",
]

PREFLIGHT_FORMS: Mapping[str, Callable[..., str]] = {
    "text": preflight_report.as_text,
    "markdown": preflight_report.as_markdown,
    "json": preflight_report.as_json,
}


def as_text(outcome: Outcome, width: int = plain.WIDTH, *, with_plans: bool = False) -> str:
    """Return the report for a terminal: at most `width` columns, no control characters, no colour."""
    return plain.write(sections.of_outcome(outcome, with_plans=with_plans), width)


def as_markdown(outcome: Outcome) -> str:
    """Return the report as Markdown, with every name and message escaped."""
    return markdown.write(sections.of_outcome(outcome))


def as_json(outcome: Outcome) -> str:
    """Return the report as JSON with stable keys, described in docs/report.md; ASCII only."""
    return json_report.write(outcome)


def plan_as_text(report: PlanReport, width: int = plain.WIDTH) -> str:
    """Return the plan for a terminal: each step with its SQL, lock, estimate and how to undo it."""
    return plain.write(plan_report.content_of(report), width)


def plan_as_markdown(report: PlanReport) -> str:
    """Return the plan as Markdown."""
    return markdown.write(plan_report.content_of(report))


def plan_as_json(report: PlanReport) -> str:
    """Return the plan as JSON with stable keys, described in docs/report.md."""
    return plan_report.as_json(report)


def plan_exit_code(report: PlanReport) -> int:
    """Return 0 if init would start, 1 if preflight would refuse it."""
    return plan_report.exit_code(report)


def status_as_text(status: Status, width: int = plain.WIDTH) -> str:
    """Return the state of every declared index for a terminal."""
    return plain.write(status_report.content_of(status), width)


def status_as_markdown(status: Status) -> str:
    """Return the state of every declared index as Markdown."""
    return markdown.write(status_report.content_of(status))


def status_as_json(status: Status) -> str:
    """Return the state of every declared index as JSON with stable keys, described in docs/status.md."""
    return status_report.document(status)


def status_exit_code(status: Status) -> int:
    """Return 0 all in place, 1 absent or not compared, 3 INVALID or degraded, 4 conflict or being built."""
    return status_report.exit_code(status)
