"""The phases of a build: in which order, what share of the whole each has, and which counter moves in it.

Shares are measured, on tables of some million rows in PostgreSQL 15 and 18. They differ with types, memory
and disks, so that a share of a whole build is a good guess, and the share of one phase is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

WAITING_FOR_TABLE = "waiting for the table"
# A drop waits for all sessions that use the table; the server shows no progress of it.
WAITING_FOR_SESSIONS = "waiting for sessions that use the table"
_VALIDATION = "index validation"
_BUILDING = "building index"

# Waiting weighs nothing: how long it takes says nothing about the work. The rest adds up to 1.
WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "btree": {
        "building index: scanning table": 0.36,
        "building index: sorting live tuples": 0.11,
        "building index: loading tuples in tree": 0.19,
        "index validation: scanning index": 0.11,
        "index validation: sorting tuples": 0.10,
        "index validation: scanning table": 0.13,
    },
    # Sub-phases since PostgreSQL 18, and only where workers help.
    "gin": {
        "building index: scanning table": 0.58,
        "building index: sorting tuples (workers)": 0.04,
        "building index: merging tuples (workers)": 0.03,
        "building index: merging tuples": 0.09,
        "index validation: scanning index": 0.18,
        "index validation: sorting tuples": 0.02,
        "index validation: scanning table": 0.06,
    },
    "hash": {
        "building index": 0.80,
        "index validation: scanning index": 0.02,
        "index validation: sorting tuples": 0.11,
        "index validation: scanning table": 0.07,
    },
    "gist": {
        "building index": 0.85,
        "index validation: scanning index": 0.02,
        "index validation: sorting tuples": 0.08,
        "index validation: scanning table": 0.05,
    },
    "spgist": {
        "building index": 0.91,
        "index validation: scanning index": 0.01,
        "index validation: sorting tuples": 0.04,
        "index validation: scanning table": 0.04,
    },
    # Its summaries name no tuples: validation finds every one missing and adds it again.
    "brin": {
        "building index": 0.15,
        "index validation: scanning index": 0.0,
        "index validation: sorting tuples": 0.0,
        "index validation: scanning table": 0.85,
    },
}
# Where the counters of the server belong to the phase; elsewhere they are left over from the one before.
_BLOCKS_MOVE_IN = {
    "building index",
    "building index: scanning table",
    "index validation: scanning index",
    "index validation: scanning table",
}
_TUPLES_MOVE_IN = {"building index: loading tuples in tree", "building index: merging tuples"}
_WAITS_BEFORE_BUILDING = {"initializing", "waiting for writers before build", WAITING_FOR_TABLE}
_WAITS_BEFORE_VALIDATION = {"waiting for writers before validation"}


def is_wait(phase: str) -> bool:
    """True while the build waits for other sessions and does no work."""
    return phase.startswith("waiting ")


def counts_blocks(phase: str) -> bool:
    """True where blocks_done of blocks_total is the progress of the phase."""
    return phase in _BLOCKS_MOVE_IN


def counts_tuples(phase: str) -> bool:
    """True where tuples_done of tuples_total is the progress of the phase."""
    return phase in _TUPLES_MOVE_IN


def span(phase: str, *, method: str | None, concurrently: bool) -> tuple[float, float] | None:
    """The share of a whole build that is done when the phase begins, and when it ends; None if unknown.

    An unknown access method is taken for the most common. A phase of a later server is unknown.
    """
    weights = WEIGHTS.get(method or "btree", WEIGHTS["gist"])
    if not concurrently:
        weights = {name: weight for name, weight in weights.items() if not name.startswith(_VALIDATION)}
    # The same sum in every Python: since 3.12 `sum` rounds as fsum does.
    whole = math.fsum(weights.values())
    building = math.fsum(weight for name, weight in weights.items() if name.startswith(_BUILDING)) / whole
    if phase in _WAITS_BEFORE_BUILDING or phase == f"{_BUILDING}: initializing":
        return 0.0, 0.0
    if phase in _WAITS_BEFORE_VALIDATION:
        return building, building
    if phase == _BUILDING:
        return 0.0, building
    if is_wait(phase):
        return 1.0, 1.0
    before = 0.0
    for name, weight in weights.items():
        if name == phase:
            return before, before + weight / whole
        before += weight / whole
    if phase == f"{_BUILDING}: sorting dead tuples":
        end = span(f"{_BUILDING}: sorting live tuples", method=method, concurrently=concurrently)
        return None if end is None else (end[1], end[1])
    return None
