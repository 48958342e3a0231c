"""Findings as a section of a report, in one sentence, and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter.model import Finding, Verdict
from exporter.text.content import Item, Section

_NO_SOURCE = {"no_source", "no_command"}
# The flag of a source that works from any machine; hints in JSON name the others.
_SOURCES = {"disk": "--free-bytes", "backup": "--backup-command"}


def criteria(findings: Sequence[Finding], title: str = "Criteria") -> Section:
    """Return the findings by subject: one item for all that passed, one for each that did not.

    What is unknown because no source is configured takes one line for all of it.
    """
    items: list[Item] = []
    for subject in dict.fromkeys(finding.subject for finding in findings):
        mine = [finding for finding in findings if finding.subject == subject]
        passed = [finding.criterion for finding in mine if finding.verdict is Verdict.PASS]
        items.append(Item("", subject))
        if passed:
            items.append(Item("pass", ", ".join(passed), depth=1))
        without_source = [finding for finding in mine if is_without_source(finding)]
        if without_source:
            items.append(Item("unknown", no_source(without_source), depth=1))
        items += [
            _finding(finding)
            for finding in mine
            if finding.verdict is not Verdict.PASS and not is_without_source(finding)
        ]
    return Section(title, tuple(items))


def _finding(finding: Finding) -> Item:
    label = "FAIL" if finding.verdict is Verdict.FAIL else finding.verdict.value
    # JSON has the reason code; the sentence says the same.
    line = f"{finding.criterion}: {finding.found or finding.reason.replace('_', ' ')}"
    return Item(label, line, hint=finding.hint, depth=1)


def is_without_source(finding: Finding) -> bool:
    """Return True if a check is unknown because no source is configured that could answer it."""
    return finding.verdict is Verdict.UNKNOWN and finding.reason in _NO_SOURCE


def no_source(findings: Sequence[Finding]) -> str:
    """Return one line that names the checks without a source, each with the flag that gives it one."""
    names = dict.fromkeys(finding.criterion for finding in findings)
    return "no source for " + ", ".join(
        f"{name} ({_SOURCES[name]})" if name in _SOURCES else name for name in names
    )


def tally(findings: Sequence[Finding]) -> str:
    """Return the number of each verdict in a sentence; warnings only if there are any."""
    verdicts = [finding.verdict for finding in findings]
    counts = ", ".join(
        f"{verdicts.count(verdict)} {verdict.value}"
        for verdict in Verdict
        if verdict is not Verdict.WARN or verdict in verdicts
    )
    return f"Criteria: {counts}."


def as_object(finding: Finding) -> dict[str, Any]:
    """Return the finding as JSON. The keys are stable, described in docs/report.md."""
    return {
        "criterion": finding.criterion,
        "subject": finding.subject,
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "found": finding.found,
        "hint": finding.hint,
        "facts": dict(finding.facts),
    }
