"""The figures of a migration as people read them, and those derived from two others. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from exporter.model import IndexEstimate, IndexFacts, Outcome, ProbeMeasurement

_BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
_NEXT_BYTE_UNIT_FROM = 10 * 1024


def duration(seconds: float) -> str:
    """A span of time in the unit that suits it: 0.45 ms, 120 ms, 4.2 s, 2 min 10 s, 1 h 05 min."""
    if seconds < 1:
        milliseconds = seconds * 1000
        places = 2 if milliseconds < 10 else 1 if milliseconds < 100 else 0
        return f"{milliseconds:.{places}f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(at: datetime) -> str:
    """A moment to the second, in UTC and saying so."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def byte_size(size_bytes: int) -> str:
    """A size in bytes in the units and steps of pg_size_pretty()."""
    size = float(size_bytes)
    unit, *larger = _BYTE_UNITS
    while larger and size >= _NEXT_BYTE_UNIT_FROM:
        size /= 1024
        unit = larger.pop(0)
    return f"{size:.0f} {unit}"


def size_ratio(facts: IndexFacts) -> float | None:
    """The size of the index as a part of its table's, None where one is not known or the table is empty."""
    if facts.size_bytes is None or not facts.table_size_bytes:
        return None
    return facts.size_bytes / facts.table_size_bytes


def estimate_of(outcome: Outcome, facts: IndexFacts) -> IndexEstimate | None:
    """What the run expected the index to take; None where it did not build it, or could not estimate it."""
    declared = facts.observed.declared
    return next((one for one in outcome.estimates if one.index == declared), None)


def estimated_wal_bytes(outcome: Outcome) -> int | None:
    """What the run expected all its builds to write to the log; None where it did not estimate them."""
    return sum(one.wal_bytes for one in outcome.estimates) if outcome.estimates else None


def speedup(before: ProbeMeasurement | None, after: ProbeMeasurement | None) -> float | None:
    """How many times faster the probe became, below 1 when slower; None where a figure is missing.

    Where the run before was stopped by its budget this is the least it can be.
    """
    if before is None or after is None or not after.median_seconds:
        return None
    before_seconds = before.median_seconds or before.stopped_after_seconds
    return None if before_seconds is None else before_seconds / after.median_seconds


def taken(measurement: ProbeMeasurement) -> str | None:
    """How long a probe took, or that it takes longer than it was given; None where neither is known."""
    if measurement.median_seconds is not None:
        return duration(measurement.median_seconds)
    stopped_after = measurement.stopped_after_seconds
    return None if stopped_after is None else f"> {duration(stopped_after)}"


def faster_by(before: ProbeMeasurement | None, after: ProbeMeasurement | None) -> str | None:
    """The speedup with two digits or all before the point: 1.3x, 24x, > 310x; None where it is not known."""
    times = speedup(before, after)
    if times is None or before is None:
        return None
    bound = "> " if before.median_seconds is None else ""
    return f"{bound}{times:.0f}x" if times >= 10 else f"{bound}{times:.1f}x"
