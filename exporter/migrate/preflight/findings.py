"""Constructors of findings, one for each verdict."""

from __future__ import annotations

from exporter.model import Finding, Verdict

SERVER = "the server"
DATABASE = "the database"
TABLE_KIND = "table kind"


def passed(criterion: str, subject: str, found: str, **facts: object) -> Finding:
    """A check that passed."""
    return Finding(criterion, subject, Verdict.PASS, "ok", found, facts=tuple(facts.items()))


def failed(criterion: str, subject: str, reason: str, found: str, hint: str, **facts: object) -> Finding:
    """A failed check: nothing is started."""
    return Finding(criterion, subject, Verdict.FAIL, reason, found, hint, tuple(facts.items()))


def warned(criterion: str, subject: str, reason: str, found: str, hint: str, **facts: object) -> Finding:
    """A risk to know before the start."""
    return Finding(criterion, subject, Verdict.WARN, reason, found, hint, tuple(facts.items()))


def unknown(criterion: str, subject: str, reason: str, found: str, hint: str, **facts: object) -> Finding:
    """A check that could not be decided."""
    return Finding(criterion, subject, Verdict.UNKNOWN, reason, found, hint, tuple(facts.items()))
