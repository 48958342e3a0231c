"""Which table's steps are executed next, and what a failed step means for the others.

The steps of one table run one after the other. Tables run in parallel, in the plan's order (the largest
first), as far as the number of workers and the disk budget allow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.migrate.plan.disk_budget import DiskBudget
from exporter.model import RelationName, Step, StepKind, StepStatus

# The steps of one table, in order; at least one.
TableSteps = tuple[Step, ...]


def _ignore_wait(steps: TableSteps, obstacle: str) -> None:
    pass


@dataclass(slots=True)
class Schedule:
    """The tables of one wave, for the workers to take.

    What the tables in execution need together stays within the ceilings of `budget`; a table that exceeds
    them alone runs alone, as preflight has judged it. Only builds need disk space: other steps and builds
    that an earlier run started are not held back. `on_wait` is called once for each table that has to wait,
    with the reason.
    """

    tables: Sequence[TableSteps]
    budget: DiskBudget = field(default_factory=DiskBudget)
    on_wait: Callable[[TableSteps, str], None] = _ignore_wait
    _waiting: list[TableSteps] = field(init=False)
    _building_count: int = 0
    # By volume: what the tables in execution need, and what the finished ones keep.
    _taken_bytes: dict[str, int] = field(default_factory=dict)
    _reported: set[RelationName] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._waiting = list(self.tables)

    def take(self) -> TableSteps | None:
        """Return the next table that fits, waiting for disk space if necessary; None if there is none left.

        A small table may overtake a large one that does not fit yet.
        """
        while True:
            with self._changed:
                if not self._waiting:
                    return None
                steps = next((steps for steps in self._waiting if self._obstacle(steps) is None), None)
                if steps is not None:
                    self._waiting.remove(steps)
                    self._begin(steps)
                    return steps
                unreported = [
                    (steps, self._obstacle(steps) or "")
                    for steps in self._waiting
                    if steps[0].table not in self._reported
                ]
                self._reported |= {steps[0].table for steps, _ in unreported}
                if not unreported:
                    self._changed.wait()
            # Without the lock: the callback may take long.
            for steps, obstacle in unreported:
                self.on_wait(steps, obstacle)

    def release(self, steps: TableSteps) -> None:
        """Record that the table's steps have ended: what they do not keep is free for others."""
        with self._changed:
            if _builds(steps):
                self._building_count -= 1
                for volume in self.budget.ceilings:
                    need = self.budget.need(steps[0].table, volume)
                    self._taken_bytes[volume] -= need.temporary_bytes
            self._changed.notify_all()

    def fits_any(self) -> bool:
        """Return True if `take` would return a table without waiting."""
        with self._changed:
            return any(self._obstacle(steps) is None for steps in self._waiting)

    def _begin(self, steps: TableSteps) -> None:
        if _builds(steps):
            self._building_count += 1
            for volume in self.budget.ceilings:
                need = self.budget.need(steps[0].table, volume)
                self._taken_bytes[volume] = self._taken_bytes.get(volume, 0) + need.all_bytes

    def _obstacle(self, steps: TableSteps) -> str | None:
        """Return why the table does not fit now; None if it does."""
        if not self._building_count or not _builds(steps):
            return None
        return self.budget.obstacle(steps[0].table, self._taken_bytes)


def _builds(steps: TableSteps) -> bool:
    return any(step.kind is StepKind.BUILD for step in steps)


def reason_to_skip(
    step: Step, before: Mapping[Step, StepStatus], *, no_new_steps: bool, is_interrupted: bool
) -> str | None:
    """Return why the step is not started, None if it is. `before` has the ended steps of its table.

    A table with a new index is analyzed also if another step failed: its statistics are part of the build.
    A leftover is dropped whatever failed.
    """
    if is_interrupted:
        return "the run was stopped"
    if step.kind is StepKind.DROP_LEFTOVER:
        return None
    any_done = any(status is StepStatus.DONE for status in before.values())
    if step.kind is StepKind.ANALYZE and before:
        return None if any_done else "nothing was built on the table"
    if any(
        earlier.index == step.index and status is not StepStatus.DONE for earlier, status in before.items()
    ):
        return "the step before it failed"
    return "another step failed" if no_new_steps else None
