"""The result of a check as text for a terminal and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from exporter.errors import Fault, SettingsError
from exporter.metrics.check.run import CheckResult, DatabaseCheck
from exporter.text import plain
from exporter.text.content import Content
from exporter.text.findings import as_object, criteria, tally

SCHEMA_VERSION = 1


def as_text(result: CheckResult) -> str:
    """The result for a terminal: at most 80 columns wide, no control characters, no colour."""
    answering = sum(database.answered for database in result.databases)
    count = len(result.databases)
    noun = "database answers" if count == 1 else "databases answer"
    return plain.write(
        Content(
            "check",
            (),
            (f"{answering} of {count} {noun}.", tally(result.all_findings)),
            (
                criteria(result.findings, "Exporter"),
                *(criteria(database.findings, _title(database)) for database in result.databases),
            ),
        )
    )


def as_json(result: CheckResult) -> str:
    """The result as JSON with stable keys, described in docs/check.md."""
    return _document(
        exit_code=result.exit_code,
        findings=[as_object(finding) for finding in result.findings],
        databases=[
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
    )


def faults_as_json(error: SettingsError) -> str:
    """Settings that cannot be used, in the same form."""
    faults: Sequence[Fault] = error.faults or (Fault("settings", error.what, error.hint or ""),)
    return _document(
        exit_code=error.exit_code,
        faults=[{"place": fault.place, "what": fault.what, "hint": fault.hint} for fault in faults],
    )


def _document(**parts: Any) -> str:
    document = {"schema_version": SCHEMA_VERSION, "faults": [], "findings": [], "databases": [], **parts}
    # ASCII only: safe to print wherever a name's newlines or reversed text would not be.
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _title(database: DatabaseCheck) -> str:
    version = f", PostgreSQL {database.server_version}" if database.server_version else ""
    return f"Target {database.target}, {database.address}{version}"
