"""Findings as the checks make them, one function for each verdict."""

from __future__ import annotations

from exporter.model import Finding, Verdict

SERVER = "the server"
DATABASE = "the database"


def passed(criterion: str, subject: str, found: str, **facts: object) -> Finding:
    """What holds."""
    return Finding(criterion, subject, Verdict.PASS, "ok", found, facts=tuple(facts.items()))


def failed(criterion: str, subject: str, reason: str, found: str, hint: str, **facts: object) -> Finding:
    """What must not be: nothing is started."""
    return Finding(criterion, subject, Verdict.FAIL, reason, found, hint, tuple(facts.items()))


def warned(criterion: str, subject: str, reason: str, found: str, hint: str, **facts: object) -> Finding:
    """What one should know before going on."""
    return Finding(criterion, subject, Verdict.WARN, reason, found, hint, tuple(facts.items()))


def unknown(criterion: str, subject: str, reason: str, found: str, hint: str, **facts: object) -> Finding:
    """What could not be seen."""
    return Finding(criterion, subject, Verdict.UNKNOWN, reason, found, hint, tuple(facts.items()))
