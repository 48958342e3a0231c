"""What a run reports while it executes steps, and the signal that detaches it from the server.

Imports nothing that executes, so that what shows events does not load the executor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from exporter.model import Step, StepResult
from exporter.postgres.builds.progress import BuildProgress
from exporter.postgres.sessions.other_sessions import OtherSession


@dataclass(frozen=True, slots=True)
class Estimate:
    """How far a build is. `rate_unit` is blocks or tuples. Units: seconds; share 0 to 1, rate per second."""

    share: float
    rate: float | None = None
    rate_unit: str | None = None
    remaining_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class WatchObservation:
    """The state of one step in the server at one moment. Units: seconds.

    `phase` is None if the server reports none. `blockers` and `waiters` are without this tool's own builds.
    `stalled_seconds` is how long the step has waited in this phase for other sessions.
    """

    build: BuildProgress
    phase: str | None
    estimate: Estimate
    blockers: tuple[OtherSession, ...] = ()
    waiters: tuple[OtherSession, ...] = ()
    stalled_seconds: float = 0.0


class EventKind(StrEnum):
    """The kind of an event.

    WAIT: a step begins to wait for a session, which its observations show as well. WAIT_FOR_DISK: a table
    waits for disk space, with the reason as text; without a text the wait has ended.
    """

    STARTED = "started"
    PROGRESS = "progress"
    WAIT = "wait"
    WAIT_FOR_DISK = "wait_for_disk"
    NOTE = "note"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a step. PROGRESS has an `observation`, FINISHED a `result`, the others a `text`."""

    kind: EventKind
    step: Step
    observation: WatchObservation | None = None
    result: StepResult | None = None
    text: str = ""

    @property
    def progress(self) -> BuildProgress | None:
        """The build as the server reports it."""
        return None if self.observation is None else self.observation.build


class StepAnswer(StrEnum):
    """The answer to the question before a step."""

    CONTINUE = "continue"
    SKIP = "skip"
    STOP = "stop"


class Detach(BaseException):
    """Raised into the main thread by a signal: exit now, the server finishes what it builds."""
