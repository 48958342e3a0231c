"""Server processes that work for a step, as the step and the watcher see them."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.model import Step


@dataclass(frozen=True, slots=True)
class FollowedProcess:
    """A process of this tool that a step follows to its end.

    `is_managed`: its own run is dead, or is this run, so this run's policies apply to it. `may_cancel`: this
    run may also cancel it, which is never true of a drop.
    """

    pid: int
    is_drop: bool
    is_managed: bool
    may_cancel: bool


@dataclass(frozen=True, slots=True)
class StepProcess:
    """A server process that works for a step.

    `is_managed`: this run's policies apply to it. `may_cancel`: they may also cancel it. `is_cleanup`: it
    drops what an attempt left, within the cleanup budget.
    """

    step: Step
    is_drop: bool
    is_managed: bool = True
    may_cancel: bool = True
    is_cleanup: bool = False
