"""One attempt to build an index: adopt or clean up what is there, build, and reconcile with the catalogue."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import psycopg

from exporter.migrate.execute.adoption import follow, lock_table, try_lock_table
from exporter.migrate.execute.attempt import (
    ANOTHER_RUN,
    CANCELLED,
    STOPPED,
    AttemptResult,
    detached,
    failed,
    halted,
    left_behind,
    stage_of,
)
from exporter.migrate.execute.step_run import StepRun
from exporter.migrate.execute.steps.drop import IN_PROGRESS, USABLE, drop_invalid, observe_when_idle
from exporter.migrate.execute.steps.partition import no_longer_partition
from exporter.migrate.execute.watch.quiesce import wait_until_quiet
from exporter.model import IndexState, ObservedIndex, StepStatus
from exporter.postgres import ddl
from exporter.postgres.journal import EventStatus, Phase

_DUPLICATE_NAME = "42P07"
_ABANDONED_HINT = (
    "end the sessions that it waited for, or give it more time (--table-budget-seconds, "
    "--writers-budget-seconds, --snapshots-budget-seconds, --deadline-seconds), then run init again"
)


def build(run: StepRun, attempt: int) -> AttemptResult:
    """Return how the attempt ended.

    Raises: psycopg.Error, ExporterError before the build was started.
    """
    with closing(run.open_session()) as connection:
        obsolete = no_longer_partition(connection, run.step)
        if obsolete is not None:
            return replace(obsolete, attempts=attempt)
        # Nearly always the lock is free, and the index is observed at once.
        is_locked = try_lock_table(run, connection)
        observed = run.observe(connection)
        if observed.state in IN_PROGRESS:
            follow(run, connection, observed)
            observed = run.observe(connection)
            if observed.state in IN_PROGRESS:
                return detached(observed, attempt)
        if observed.state not in USABLE:
            if not is_locked:
                if not lock_table(run, connection):
                    is_stopping = run.context.stopping.is_set()
                    return STOPPED if is_stopping else replace(ANOTHER_RUN, attempts=attempt)
                # The index may have changed while this session waited for the lock.
                observed = run.observe(connection)
            run.record(Phase.LOCKED, EventStatus.DONE, observed, attempt)
            if run.is_followed_cancelled:
                return _reconcile(run, observed, attempt, None)
        if observed.state in USABLE:
            return replace(_built(run, observed, attempt), message=observed.detail)
        if observed.state in (IndexState.INVALID_OURS, IndexState.DEGRADED):
            leftover = drop_invalid(run)
            if leftover is not None:
                return replace(leftover, attempts=attempt)
        elif observed.state is not IndexState.ABSENT:
            return halted(observed, attempt)
        if not wait_until_quiet(run, connection, observed, attempt):
            return STOPPED
        # The intent is recorded before the statement: whatever happens, the index is known as ours.
        run.record(Phase.BUILDING, EventStatus.IN_PROGRESS, observed, attempt)
        error: psycopg.Error | None = None
        try:
            ddl.run_single(connection, ddl.create_index(run.index))
        except psycopg.Error as raised:
            error = raised
        else:
            built = run.observe(connection)
            if built.state is IndexState.PRESENT:
                return _built(run, built, attempt)
        return _reconcile(run, observed, attempt, error)


def _built(run: StepRun, observed: ObservedIndex, attempt: int) -> AttemptResult:
    # An index that another session built meanwhile is not this migration's to drop.
    if observed.state is IndexState.PRESENT and observed.declared.name in run.context.journal.created():
        run.record(Phase.CATALOG_OK, EventStatus.DONE, observed, attempt)
    return AttemptResult(StepStatus.DONE, attempt)


def _reconcile(
    run: StepRun, before: ObservedIndex, attempt: int, error: psycopg.Error | None
) -> AttemptResult:
    """Return how the attempt ended by what the catalogue shows now, and clean up; the error only explains."""
    max_attempts = run.context.options.max_attempts
    if error is not None and error.sqlstate == _DUPLICATE_NAME:
        # Nothing was built: the index that has the name now is not ours.
        run.record(Phase.BUILDING, EventStatus.FAILED, before, attempt, "the name was taken meanwhile")
    observed = observe_when_idle(run)
    if observed.state is IndexState.PRESENT:
        return _built(run, observed, attempt)
    if observed.state in IN_PROGRESS:
        return detached(observed, attempt)
    result = failed(error, stage_of(observed), attempt, max_attempts=max_attempts)
    abandoned = run.take_abandon_reason()
    if run.is_followed_cancelled:
        result = replace(CANCELLED, attempts=attempt)
        run.set_followed_cancelled(is_cancelled=False)
    if abandoned is not None:
        result = replace(
            result,
            message=f"abandoned: {abandoned.reason}",
            hint=_ABANDONED_HINT,
            most_attempts=max_attempts if abandoned.may_retry else 0,
        )
    if observed.state is IndexState.BUILDING_FOREIGN:
        run.record_if_possible(Phase.CLEANUP, EventStatus.LEFT_BEHIND, observed, attempt, observed.detail)
        return left_behind(observed.declared, f"cannot be dropped now, {observed.detail}", result.sqlstate)
    if observed.state is IndexState.INVALID_OURS:
        leftover = drop_invalid(run)
        if leftover is not None:
            return replace(leftover, attempts=attempt)
    run.record_if_possible(Phase.BUILDING, EventStatus.FAILED, observed, attempt, result.message)
    return result
