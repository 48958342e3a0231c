"""Figures formatted for people, and figures derived from two others. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from exporter.model import IndexEstimate, IndexFacts, Outcome, ProbeMeasurement

_BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
_NEXT_BYTE_UNIT_FROM = 10 * 1024
_SHORTEST_SECONDS = 0.00001
_DAYS_FROM_SECONDS = 2 * 86400


def duration(seconds: float) -> str:
    """Return a time span as people read it: 0.45 ms, 120 ms, 4.2 s, 2 min 10 s, 1 h 05 min, 3 days 2 h."""
    if seconds < _SHORTEST_SECONDS:
        return "under 0.01 ms" if seconds > 0 else "0 s"
    # The limits are where rounding would show 1000 ms or 60.0 s.
    if seconds < 0.9995:
        milliseconds = seconds * 1000
        places = 2 if milliseconds < 10 else 1 if milliseconds < 100 else 0
        return f"{milliseconds:.{places}f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        first, rest, text = f"{whole // 60} min", whole % 60, f"{whole % 60:02d} s"
    elif whole < _DAYS_FROM_SECONDS:
        minutes = whole % 3600 // 60
        first, rest, text = f"{whole // 3600} h", minutes, f"{minutes:02d} min"
    else:
        hours = whole % 86400 // 3600
        first, rest, text = f"{whole // 86400} days", hours, f"{hours} h"
    return f"{first} {text}" if rest else first


def moment(at: datetime) -> str:
    """Return a moment to the second in UTC, with the zone named."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def byte_size(size_bytes: int) -> str:
    """Return a size in bytes in the units and steps of pg_size_pretty()."""
    size = float(size_bytes)
    unit, *larger = _BYTE_UNITS
    while larger and size >= _NEXT_BYTE_UNIT_FROM:
        size /= 1024
        unit = larger.pop(0)
    return f"{size:.0f} {unit}"


def size_ratio(facts: IndexFacts) -> float | None:
    """Return index size / table size, None if either is unknown or the table is empty."""
    if facts.size_bytes is None or not facts.table_size_bytes:
        return None
    return facts.size_bytes / facts.table_size_bytes


def estimate_of(outcome: Outcome, facts: IndexFacts) -> IndexEstimate | None:
    """Return the estimate of the run that built the index, None for any other run."""
    declared = facts.observed.declared
    return next((estimate for estimate in outcome.estimates if estimate.index == declared), None)


def estimated_wal_bytes(outcome: Outcome) -> int | None:
    """Return the estimated WAL of all builds of the run, None without estimates. Units: bytes."""
    return sum(estimate.wal_bytes for estimate in outcome.estimates) if outcome.estimates else None


def speedup(before: ProbeMeasurement | None, after: ProbeMeasurement | None) -> float | None:
    """Return time before / time after, below 1 if slower, None if either is unknown.

    It is a lower bound if the run before was stopped by its time limit.
    """
    if before is None or after is None or not after.median_seconds:
        return None
    before_seconds = before.median_seconds or before.stopped_after_seconds
    return None if before_seconds is None else before_seconds / after.median_seconds


def taken(measurement: ProbeMeasurement) -> str | None:
    """Return the time of a probe, with > if it was stopped; None if it was not measured."""
    if measurement.median_seconds is not None:
        return duration(measurement.median_seconds)
    stopped_after = measurement.stopped_after_seconds
    return None if stopped_after is None else f"> {duration(stopped_after)}"


def faster_by(before: ProbeMeasurement | None, after: ProbeMeasurement | None) -> str | None:
    """Return the speedup with two significant digits: 1.3x, 24x, > 310x; None if unknown."""
    times = speedup(before, after)
    if times is None or before is None:
        return None
    bound = "> " if before.median_seconds is None else ""
    return f"{bound}{times:.0f}x" if times >= 10 else f"{bound}{times:.1f}x"
