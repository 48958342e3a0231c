"""The measurements that init stores in the journal, so that later runs compare with the same. Pure.

The journal's `detail` holds them as JSON; entries of older and newer versions are read as far as possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from exporter.model import ProbeMeasurement

_KEY = "probes"


def to_detail(measurements: Sequence[ProbeMeasurement]) -> dict[str, Any]:
    """The measurements as the journal's detail. Units: as the fields of ProbeMeasurement say."""
    return {_KEY: [asdict(measurement) for measurement in measurements]}


def from_detail(detail: Mapping[str, Any]) -> tuple[ProbeMeasurement, ...]:
    """The measurements in a journal's detail, without entries that name no index and probe.

    A value that is missing or of another type is None, a count of this tool is 0; unknown keys are ignored.
    """
    entries = detail.get(_KEY)
    if not isinstance(entries, list):
        return ()
    return tuple(
        _measurement(entry)
        for entry in entries
        if isinstance(entry, dict) and _text(entry, "index_name") and _text(entry, "probe")
    )


def with_fresh(
    kept: Sequence[ProbeMeasurement], fresh: Sequence[ProbeMeasurement]
) -> tuple[ProbeMeasurement, ...]:
    """The measurements of both, the fresh one if a probe has two."""
    merged = {(one.index_name, one.probe): one for one in (*kept, *fresh)}
    return tuple(merged.values())


def _measurement(entry: Mapping[str, Any]) -> ProbeMeasurement:
    return ProbeMeasurement(
        index_name=_text(entry, "index_name") or "",
        probe=_text(entry, "probe") or "",
        samples=_count(entry, "samples") or 0,
        samples_using_index=_count(entry, "samples_using_index"),
        median_seconds=_number(entry, "median_seconds"),
        runs=_count(entry, "runs") or 0,
        node=_text(entry, "node"),
        total_cost=_number(entry, "total_cost"),
        reason=_text(entry, "reason"),
        detail=_text(entry, "detail"),
        stopped_after_seconds=_number(entry, "stopped_after_seconds"),
        plan=_text(entry, "plan"),
    )


def _text(entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) else None


def _number(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    # True is an int to Python.
    return None if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)


def _count(entry: Mapping[str, Any], key: str) -> int | None:
    value = _number(entry, key)
    return None if value is None else int(value)
