"""ANALYZE of a table, after its last build."""

from __future__ import annotations

from contextlib import closing

import psycopg

from exporter.migrate.execute.adoption import lock_table
from exporter.migrate.execute.attempt import ANOTHER_RUN, STOPPED, AttemptResult, failed
from exporter.migrate.execute.sqlstates import Stage
from exporter.migrate.execute.step_run import StepRun
from exporter.model import StepStatus
from exporter.postgres import ddl

# An ANALYZE that waits for its lock longer than deadlock_timeout ends a build that waits for its snapshot.
_LOCK_TIMEOUT_SECONDS = 5.0


def analyze(run: StepRun, attempt: int) -> AttemptResult:
    """Return how the attempt ended. A table that the server skips with a warning is a failure."""
    warnings: list[str] = []
    with closing(run.open_session(lock_timeout_seconds=_LOCK_TIMEOUT_SECONDS)) as connection:
        if not lock_table(run, connection):
            return STOPPED if run.context.stopping.is_set() else ANOTHER_RUN
        connection.add_notice_handler(
            lambda notice: (
                warnings.append(notice.message_primary or "")
                if notice.severity_nonlocalized == "WARNING"
                else None
            )
        )
        try:
            connection.execute(ddl.analyze(run.step.table))
        except psycopg.Error as error:
            max_attempts = run.context.options.max_attempts
            return failed(error, Stage.ANALYZING, attempt, max_attempts=max_attempts)
    if warnings:
        # Without the right to analyze a table the statement succeeds, with a warning.
        return AttemptResult(
            StepStatus.FAILED, attempt, message=warnings[0], hint="run as the owner of the table"
        )
    return AttemptResult(StepStatus.DONE, attempt)
