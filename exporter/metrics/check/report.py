"""The result of a check as text, Markdown and JSON. Pure."""

from __future__ import annotations

import json

from exporter.metrics.check.run import CheckResult, DatabaseCheck
from exporter.text import markdown, plain
from exporter.text.content import Content
from exporter.text.findings import as_object, criteria, tally

SCHEMA_VERSION = 1


def as_text(result: CheckResult, width: int = plain.WIDTH) -> str:
    """The result for a terminal: at most `width` columns wide, no control characters, no colour."""
    return plain.write(_content(result), width)


def as_markdown(result: CheckResult) -> str:
    """The result as Markdown; names and messages show as they are, whatever they hold."""
    return markdown.write(_content(result))


def _content(result: CheckResult) -> Content:
    answering = sum(database.answered for database in result.databases)
    count = len(result.databases)
    noun = "database answers" if count == 1 else "databases answer"
    return Content(
        "check",
        (),
        (f"{answering} of {count} {noun}.", tally(result.all_findings)),
        (
            criteria(result.findings, "Exporter"),
            *(criteria(database.findings, _title(database)) for database in result.databases),
        ),
    )


def as_json(result: CheckResult) -> str:
    """The result as JSON with stable keys, described in docs/check.md."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "command": "check",
        "exit_code": result.exit_code,
        "findings": [as_object(finding) for finding in result.findings],
        "databases": [
            {
                "target": database.target,
                "datname": database.datname,
                "address": database.address,
                "answered": database.answered,
                "server_version": database.server_version or None,
                "findings": [as_object(finding) for finding in database.findings],
            }
            for database in result.databases
        ],
    }
    # ASCII only: safe to print wherever a name's newlines or reversed text would not be.
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _title(database: DatabaseCheck) -> str:
    version = f", PostgreSQL {database.server_version}" if database.server_version else ""
    return f"Target {database.target}, {database.address}{version}"
