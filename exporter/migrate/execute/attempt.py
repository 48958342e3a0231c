"""The result of one attempt of a step, and whether another attempt may follow."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from exporter.errors import ExporterError
from exporter.migrate.execute.sqlstates import Reaction, Stage, attempts_allowed, classify
from exporter.model import DeclaredIndex, IndexState, ObservedIndex, StepStatus
from exporter.postgres import ddl
from exporter.postgres.target import first_line


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How one attempt of a step ended.

    `attempts` counts the attempts up to this one. `most_attempts` is how many the step may have in all; 0 if
    no other may follow.
    """

    status: StepStatus
    attempts: int = 1
    sqlstate: str | None = None
    message: str | None = None
    hint: str | None = None
    most_attempts: int = 0

    @property
    def may_retry(self) -> bool:
        """True if another attempt may follow."""
        return self.attempts < self.most_attempts


ANOTHER_RUN = AttemptResult(
    StepStatus.HALTED,
    message="another run of this tool works on the table",
    hint="wait until it ends, then run the same command again",
)
CANCELLED = AttemptResult(
    StepStatus.FAILED,
    sqlstate="57014",
    message="the build that an earlier run had started was cancelled",
    hint="run init again: it builds the index anew",
)
STOPPED = AttemptResult(StepStatus.SKIPPED, message="stopped before it started")


def failed(
    error: psycopg.Error | ExporterError | None, stage: Stage, attempt: int = 1, *, max_attempts: int = 1
) -> AttemptResult:
    """Return the result of an attempt that met this error.

    Without an error: the statement succeeded, but the catalogue does not show its result.
    """
    if error is None:
        return AttemptResult(
            StepStatus.FAILED,
            attempt,
            message="the statement succeeded, but the catalogue does not show its result",
            hint="find out who else changes the table, then run the same command again",
        )
    if isinstance(error, ExporterError):
        status = StepStatus.HALTED if error.exit_code != ExporterError.exit_code else StepStatus.FAILED
        return AttemptResult(status, attempt, message=error.what, hint=error.hint)
    rule = classify(error.sqlstate, stage)
    most_attempts = attempts_allowed(stage, max_attempts) if rule.reaction is Reaction.RETRY else 0
    # After the last lost connection the result is unknown: that needs a person.
    is_halted = rule.reaction is Reaction.HALT or (rule.connection_lost and attempt >= most_attempts)
    return AttemptResult(
        StepStatus.HALTED if is_halted else StepStatus.FAILED,
        attempt,
        error.sqlstate,
        first_line(error),
        rule.hint,
        most_attempts,
    )


def stage_of(observed: ObservedIndex) -> Stage:
    """Return how far a build had come, by what it left in the catalogue."""
    if observed.indisready is None:
        return Stage.STARTING
    return Stage.VALIDATING if observed.indisready else Stage.SCANNING


def is_connection_lost(error: psycopg.Error) -> bool:
    """Return True if the error leaves unknown whether the server finished the statement."""
    return classify(error.sqlstate, Stage.PREPARING).connection_lost


def halted(observed: ObservedIndex, attempt: int = 1) -> AttemptResult:
    """Return the result where the state of the index needs a person's decision."""
    hint = "run `status`: it shows what has to be decided"
    return AttemptResult(StepStatus.HALTED, attempt, message=observed.detail, hint=hint)


def detached(observed: ObservedIndex, attempt: int = 1) -> AttemptResult:
    """Return the result where the server goes on with the work and the step does not wait for it."""
    work = "drop" if observed.state is IndexState.DROPPING_OURS else "build"
    return AttemptResult(
        StepStatus.DETACHED,
        attempt,
        message=f"the server goes on with it (pid {observed.builder_pid})",
        hint=f"run the same command again: it follows the {work} to its end",
    )


def left_behind(index: DeclaredIndex, message: str, sqlstate: str | None = None) -> AttemptResult:
    """Return the result where an INVALID index stays, which slows writes until it is dropped."""
    return AttemptResult(
        StepStatus.LEFT_BEHIND,
        sqlstate=sqlstate,
        message=f"the INVALID index {index.relation.quoted} {message}",
        hint="end the sessions that block the drop, then run init again, or: "
        + ddl.as_text(ddl.drop_index(index.relation)),
    )
