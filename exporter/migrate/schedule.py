"""Which table is worked on next, and what a failed step means for the others.

Indexes of one table are built one after the other; tables side by side, the first of the plan first (the
largest), as many as workers and the disk allow.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exporter.model import RelationName, Step, StepKind, StepStatus

Lane = tuple[Step, ...]


@dataclass(slots=True)
class Schedule:
    """Lanes for the workers to take, each a table's steps. Units: bytes.

    `needs` estimates the disk that a lane's work takes; the sum of what is under way stays within
    `budget_bytes`, but for one lane that has it to itself. A lane of unknown need counts as all of it.
    """

    lanes: Sequence[Lane]
    needs: Mapping[RelationName, float | None] = field(default_factory=dict)
    budget_bytes: float | None = None
    _waiting: list[Lane] = field(init=False)
    _in_flight: dict[RelationName, float] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._waiting = list(self.lanes)

    def take(self) -> Lane | None:
        """The next lane that fits, waiting for room where it has to; None when there is no other.

        A small table may overtake a large one that does not fit yet.
        """
        with self._changed:
            while self._waiting:
                lane = next(filter(self._fits, self._waiting), None)
                if lane is not None:
                    self._waiting.remove(lane)
                    self._in_flight[lane[0].table] = self._need(lane)
                    return lane
                self._changed.wait()
            return None

    def release(self, lane: Lane) -> None:
        """Says that the lane's work has ended, so that others may have its room."""
        with self._changed:
            self._in_flight.pop(lane[0].table)
            self._changed.notify_all()

    def fits_any(self) -> bool:
        """True when `take` would give a lane without waiting."""
        with self._changed:
            return any(map(self._fits, self._waiting))

    def _fits(self, lane: Lane) -> bool:
        if self.budget_bytes is None or not self._in_flight:
            return True
        return sum(self._in_flight.values()) + self._need(lane) <= self.budget_bytes

    def _need(self, lane: Lane) -> float:
        if all(step.kind is StepKind.ANALYZE for step in lane):
            return 0.0
        need = self.needs.get(lane[0].table)
        return (self.budget_bytes or 0.0) if need is None else need


def reason_to_skip(
    step: Step, before: Mapping[Step, StepStatus], *, is_ending: bool, is_interrupted: bool
) -> str | None:
    """Why the step is not to be started, None when it is; `before` are the steps of its table so far.

    A table that was built on is analyzed although something failed: its statistics are a part of the build.
    """
    if is_interrupted:
        return "the run was stopped"
    done = any(status is StepStatus.DONE for status in before.values())
    if step.kind is StepKind.ANALYZE and before:
        return None if done else "nothing was built on the table"
    if any(one.index == step.index and status is not StepStatus.DONE for one, status in before.items()):
        return "the step before it failed"
    return "another step failed" if is_ending else None
