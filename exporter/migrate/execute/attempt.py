"""How a step ended: what the result will say, and whether another attempt may follow."""

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
    """How a step, or one attempt of it, ended.

    `most_attempts` is how many attempts the step has in all after this one; 0 where no other may follow.
    """

    status: StepStatus
    attempts: int = 1
    sqlstate: str | None = None
    message: str | None = None
    hint: str | None = None
    most_attempts: int = 0

    @property
    def may_retry(self) -> bool:
        """True when another attempt may follow."""
        return self.attempts < self.most_attempts


ANOTHER_RUN = AttemptResult(
    StepStatus.HALTED,
    message="another run of this tool works on the table",
    hint="wait for it to end, then run init again",
)
CANCELLED = AttemptResult(
    StepStatus.FAILED,
    sqlstate="57014",
    message="the build that an earlier run had begun was cancelled",
    hint="run init again: it builds it anew",
)
STOPPED = AttemptResult(StepStatus.SKIPPED, message="stopped before it began")


def ended_by(
    error: psycopg.Error | ExporterError | None, stage: Stage, attempt: int = 1, *, max_attempts: int = 1
) -> AttemptResult:
    """How an attempt ended that met this error, or none although the catalogue does not show its work."""
    if error is None:
        return AttemptResult(
            StepStatus.FAILED,
            attempt,
            message="the statement ended, but the catalogue does not show its work",
            hint="see who changes the table, then run init again",
        )
    if isinstance(error, ExporterError):
        status = StepStatus.HALTED if error.exit_code != ExporterError.exit_code else StepStatus.FAILED
        return AttemptResult(status, attempt, message=error.what, hint=error.hint)
    rule = classify(error.sqlstate, stage)
    most_attempts = attempts_allowed(stage, max_attempts) if rule.reaction is Reaction.RETRY else 0
    # Of a connection that stays lost nobody knows the end: that is for a person to look at.
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
    """How far a build had come, by what it left in the catalogue."""
    if observed.indisready is None:
        return Stage.STARTING
    return Stage.VALIDATING if observed.indisready else Stage.SCANNING


def is_connection_lost(error: psycopg.Error) -> bool:
    """True when nobody knows what the server made of the statement."""
    return classify(error.sqlstate, Stage.LOOKING).connection_lost


def halted(observed: ObservedIndex, attempt: int = 1) -> AttemptResult:
    """What stands there is for a person to decide on."""
    return AttemptResult(StepStatus.HALTED, attempt, message=observed.detail, hint="see `status`")


def detached(observed: ObservedIndex, attempt: int = 1) -> AttemptResult:
    """The server goes on alone."""
    work = "drop" if observed.state is IndexState.DROPPING_OURS else "build"
    return AttemptResult(
        StepStatus.DETACHED,
        attempt,
        message=f"the server goes on with it (pid {observed.builder_pid})",
        hint=f"run the same command again: it follows the {work} to its end",
    )


def left_behind(index: DeclaredIndex, message: str, sqlstate: str | None = None) -> AttemptResult:
    """An INVALID index stays, which costs writes until it is dropped."""
    return AttemptResult(
        StepStatus.LEFT_BEHIND,
        sqlstate=sqlstate,
        message=f"the INVALID index {index.relation.quoted} {message}",
        hint="end what blocks it, then run init again, or: " + ddl.as_text(ddl.drop_index(index.relation)),
    )
