"""Findings as every command tells them: as a section, in one sentence, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter.model import Finding, Verdict
from exporter.text.content import Item, Section


def criteria(findings: Sequence[Finding], title: str = "Criteria") -> Section:
    """By subject: one item for all that passed, one for each criterion that did not."""
    items: list[Item] = []
    for subject in dict.fromkeys(finding.subject for finding in findings):
        mine = [finding for finding in findings if finding.subject == subject]
        passed = [finding.criterion for finding in mine if finding.verdict is Verdict.PASS]
        items.append(Item("", subject))
        if passed:
            items.append(Item("pass", ", ".join(passed), depth=1))
        items += [_finding(finding) for finding in mine if finding.verdict is not Verdict.PASS]
    return Section(title, tuple(items))


def _finding(finding: Finding) -> Item:
    label = "FAIL" if finding.verdict is Verdict.FAIL else finding.verdict.value
    line = f"{finding.criterion}: {finding.reason}"
    return Item(label, line, details=(finding.found,), hint=finding.hint, depth=1)


def tally(findings: Sequence[Finding]) -> str:
    """How many passed, failed and are unknown, and how many warn where some do, as a sentence."""
    verdicts = [finding.verdict for finding in findings]
    counts = ", ".join(
        f"{verdicts.count(verdict)} {verdict.value}"
        for verdict in Verdict
        if verdict is not Verdict.WARN or verdict in verdicts
    )
    return f"Criteria: {counts}."


def as_object(finding: Finding) -> dict[str, Any]:
    """The finding as JSON holds it; the keys are a promise, described in docs/report.md."""
    return {
        "criterion": finding.criterion,
        "subject": finding.subject,
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "found": finding.found,
        "hint": finding.hint,
        "facts": dict(finding.facts),
    }
