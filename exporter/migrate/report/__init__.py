"""An Outcome as text for a terminal, as Markdown and as JSON, and the exit code that goes with it. Pure.

`outline` says what is told, once for text and Markdown, as the nouns of `exporter.text`, which writes
them down; `document` is the JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from exporter.migrate.report import document, outline, readiness
from exporter.migrate.report import status_report as standing
from exporter.migrate.report.exit_codes import exit_code, preflight_exit_code
from exporter.migrate.report.summary import summary, work_to_do
from exporter.migrate.status import Status
from exporter.model import Finding, Outcome, Plan
from exporter.text import markdown, plain

__all__ = [
    "PREFLIGHT_FORMS",
    "as_json",
    "as_markdown",
    "as_text",
    "exit_code",
    "plan_as_text",
    "preflight_exit_code",
    "status_as_text",
    "summary",
    "work_to_do",
]

PREFLIGHT_FORMS: Mapping[str, Callable[..., str]] = {
    "text": readiness.as_text,
    "markdown": readiness.as_markdown,
    "json": readiness.as_json,
}


def as_text(outcome: Outcome, width: int = plain.WIDTH) -> str:
    """The report for a terminal: at most `width` columns wide, no control characters, no colour."""
    return plain.write(outline.of_outcome(outcome), width)


def as_markdown(outcome: Outcome) -> str:
    """The report as Markdown; names and messages show as they are, whatever they hold."""
    return markdown.write(outline.of_outcome(outcome))


def as_json(outcome: Outcome) -> str:
    """The report as JSON with stable keys, described in docs/report.md. Only ASCII, the rest escaped."""
    return document.write(outcome)


def plan_as_text(
    plan: Plan,
    preflight: Sequence[Finding] = (),
    origin: Sequence[str] = (),
    width: int = plain.WIDTH,
) -> str:
    """The plan for a terminal: every step with its SQL, lock, end and undo, and what to know before.

    `origin` tells of which database it is, a line each.
    """
    return plain.write(outline.of_plan(plan, preflight, origin), width)


def status_as_text(status: Status, width: int = plain.WIDTH) -> str:
    """Where every declared index stands, for a terminal."""
    return plain.write(standing.content_of(status), width)


def status_as_markdown(status: Status) -> str:
    """Where every declared index stands, as Markdown."""
    return markdown.write(standing.content_of(status))


def status_as_json(status: Status) -> str:
    """Where every declared index stands, as JSON with stable keys, described in docs/status.md."""
    return standing.document(status)


def status_exit_code(status: Status) -> int:
    """0 all stand, 1 some absent or not compared, 3 INVALID or degraded, 4 a conflict or work under way."""
    return standing.exit_code(status)
