"""The result of `preflight` as a table for a terminal, as Markdown and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from exporter.migrate.report.exit_codes import preflight_exit_code
from exporter.model import Finding, Readiness, Verdict
from exporter.text import markdown
from exporter.text.characters import columns_of, printable, wrap
from exporter.text.figures import moment
from exporter.text.findings import as_object, is_without_source, no_source
from exporter.text.plain import WIDTH

SCHEMA_VERSION = 1
_VERDICT_COLUMNS = 11
_CHECK_COLUMNS = 22
_SHOWN = {Verdict.FAIL: "FAIL"}


def as_text(readiness: Readiness, width: int = WIDTH) -> str:
    """Return the table for a terminal: at most `width` columns, no control characters, no colour."""
    lines = [
        *_wrapped(f"pg-index-exporter preflight {readiness.migration}", width),
        *_wrapped(f"{readiness.address}, PostgreSQL {readiness.server_version}", width),
        moment(readiness.checked_at),
        "",
        *_wrapped(summary(readiness), width),
    ]
    for subject in _subjects(readiness):
        lines += ["", *_wrapped(subject, width)]
        for finding in readiness.findings:
            if finding.subject == subject and not is_without_source(finding):
                lines += _rows(finding, width)
        without_source = [
            finding
            for finding in readiness.findings
            if finding.subject == subject and is_without_source(finding)
        ]
        if without_source:
            lead = "  unknown".ljust(_VERDICT_COLUMNS)
            sentence = wrap(printable(no_source(without_source)), width - _VERDICT_COLUMNS)
            lines += [
                f"{lead if number == 0 else ' ' * len(lead)}{line}" for number, line in enumerate(sentence)
            ]
    return "\n".join(lines) + "\n"


def summary(readiness: Readiness) -> str:
    """Return the result in a sentence."""
    verdicts = [finding.verdict for finding in readiness.findings]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict.value}" for verdict in Verdict)
    refused = "init would refuse to start" if Verdict.FAIL in verdicts else "init would start"
    return f"{refused}: {counts}."


def _subjects(readiness: Readiness) -> list[str]:
    return list(dict.fromkeys(finding.subject for finding in readiness.findings))


def _rows(finding: Finding, width: int) -> Iterator[str]:
    lead = "  " + _SHOWN.get(finding.verdict, finding.verdict.value).ljust(_VERDICT_COLUMNS - 2)
    checks = wrap(printable(finding.criterion), _CHECK_COLUMNS - 2)
    room = width - _VERDICT_COLUMNS - _CHECK_COLUMNS
    found = wrap(printable(finding.found), room)
    for number in range(max(len(checks), len(found))):
        check = checks[number] if number < len(checks) else ""
        fact = found[number] if number < len(found) else ""
        padding = " " * (_CHECK_COLUMNS - columns_of(check))
        yield f"{lead if number == 0 else ' ' * _VERDICT_COLUMNS}{check}{padding}{fact}".rstrip()
    if finding.hint is not None:
        margin = " " * (_VERDICT_COLUMNS + _CHECK_COLUMNS)
        for number, line in enumerate(wrap(printable(finding.hint), room - 3)):
            yield f"{margin}{'-> ' if number == 0 else '   '}{line}".rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(printable(text), width)


def as_markdown(readiness: Readiness) -> str:
    """Return the table as Markdown, with every name and message escaped."""
    escape = markdown.escape
    lines = [
        f"# pg-index-exporter preflight {escape(readiness.migration)}",
        "",
        f"- {escape(readiness.address)}, PostgreSQL {escape(readiness.server_version)}",
        f"- {moment(readiness.checked_at)}",
        "",
        f"**{escape(summary(readiness))}**",
        "",
        "| verdict | subject | check | found | what to do |",
        "| --- | --- | --- | --- | --- |",
    ]
    for finding in readiness.findings:
        verdict = f"**{finding.verdict.value}**" if finding.verdict is Verdict.FAIL else finding.verdict.value
        cells = [finding.subject, finding.criterion, finding.found, finding.hint or ""]
        lines.append(f"| {verdict} | {' | '.join(map(escape, cells))} |")
    return "\n".join(lines) + "\n"


def as_json(readiness: Readiness) -> str:
    """Return the findings as JSON with stable keys, described in docs/preflight.md; ASCII only."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "command": "preflight",
        "migration": readiness.migration,
        "datname": readiness.datname,
        "address": readiness.address,
        "server_version": readiness.server_version,
        "checked_at": readiness.checked_at.isoformat(),
        "exit_code": preflight_exit_code(readiness.findings),
        "summary": summary(readiness),
        "findings": [as_object(finding) for finding in readiness.findings],
    }
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"
