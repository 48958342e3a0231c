"""Which table is worked on next, and what a failed step means for the others.

Indexes of one table are built one after the other; tables side by side, the first of the plan first (the
largest), as many as workers and the disk allow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.migrate.plan.disk_budget import DiskBudget
from exporter.model import RelationName, Step, StepKind, StepStatus

Lane = tuple[Step, ...]


def _tell_nobody(lane: Lane, obstacle: str) -> None:
    pass


@dataclass(slots=True)
class Schedule:
    """Lanes for the workers to take, each a table's steps.

    What those under way take together stays within the ceilings of `budget`, but for one lane that has the
    disk to itself: whether that fits at all the preflight has asked. Only building takes disk; what an
    earlier run has begun is not held back. `on_wait` is told once of each lane that has to wait, and why.
    """

    lanes: Sequence[Lane]
    budget: DiskBudget = field(default_factory=DiskBudget)
    on_wait: Callable[[Lane, str], None] = _tell_nobody
    _waiting: list[Lane] = field(init=False)
    _building_count: int = 0
    # Of each volume what those under way take, and what those that have ended keep.
    _taken_bytes: dict[str, int] = field(default_factory=dict)
    _told: set[RelationName] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._waiting = list(self.lanes)

    def take(self) -> Lane | None:
        """The next lane that fits, waiting for room where it has to; None when there is no other.

        A small table may overtake a large one that does not fit yet.
        """
        while True:
            with self._changed:
                if not self._waiting:
                    return None
                lane = next((lane for lane in self._waiting if self._obstacle(lane) is None), None)
                if lane is not None:
                    self._waiting.remove(lane)
                    self._begin(lane)
                    return lane
                untold = [
                    (lane, self._obstacle(lane) or "")
                    for lane in self._waiting
                    if lane[0].table not in self._told
                ]
                self._told |= {lane[0].table for lane, _ in untold}
                if not untold:
                    self._changed.wait()
            # Without the lock: whoever is told may take long.
            for lane, obstacle in untold:
                self.on_wait(lane, obstacle)

    def release(self, lane: Lane) -> None:
        """Says that the lane's work has ended, so that others may have its room."""
        with self._changed:
            if _takes_disk(lane):
                self._building_count -= 1
                for volume in self.budget.ceilings:
                    need = self.budget.need(lane[0].table, volume)
                    self._taken_bytes[volume] -= need.temporary_bytes
            self._changed.notify_all()

    def fits_any(self) -> bool:
        """True when `take` would give a lane without waiting."""
        with self._changed:
            return any(self._obstacle(lane) is None for lane in self._waiting)

    def _begin(self, lane: Lane) -> None:
        if _takes_disk(lane):
            self._building_count += 1
            for volume in self.budget.ceilings:
                need = self.budget.need(lane[0].table, volume)
                self._taken_bytes[volume] = self._taken_bytes.get(volume, 0) + need.all_bytes

    def _obstacle(self, lane: Lane) -> str | None:
        if not self._building_count or not _takes_disk(lane):
            return None
        return self.budget.obstacle(lane[0].table, self._taken_bytes)


def _takes_disk(lane: Lane) -> bool:
    return any(step.kind is StepKind.BUILD for step in lane)


def reason_to_skip(
    step: Step, before: Mapping[Step, StepStatus], *, is_ending: bool, is_interrupted: bool
) -> str | None:
    """Why the step is not to be started, None when it is; `before` are the steps of its table so far.

    A table that was built on is analyzed although something failed: its statistics are a part of the build.
    What was left INVALID is dropped whatever failed.
    """
    if is_interrupted:
        return "the run was stopped"
    if step.kind is StepKind.DROP_LEFTOVER:
        return None
    done = any(status is StepStatus.DONE for status in before.values())
    if step.kind is StepKind.ANALYZE and before:
        return None if done else "nothing was built on the table"
    if any(one.index == step.index and status is not StepStatus.DONE for one, status in before.items()):
        return "the step before it failed"
    return "another step failed" if is_ending else None
