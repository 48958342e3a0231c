"""Dropping an index: one that an attempt left INVALID, or one that a rollback removes.

A drop that stops half-way leaves a valid index INVALID. The catalogue decides how it ended, not the error.
"""

from __future__ import annotations

import time
from contextlib import closing

import psycopg

from exporter.migrate.execute.adoption import follow, lock_table, wait_until_free
from exporter.migrate.execute.attempt import (
    ANOTHER_RUN,
    STOPPED,
    AttemptResult,
    detached,
    failed,
    halted,
    is_connection_lost,
    left_behind,
)
from exporter.migrate.execute.sqlstates import Reaction, Stage, classify
from exporter.migrate.execute.step_run import StepRun
from exporter.migrate.execute.steps.leftovers import rename_leftover
from exporter.model import IndexState, ObservedIndex, StepKind, StepStatus
from exporter.postgres import ddl
from exporter.postgres.journal import EventStatus, Phase
from exporter.postgres.target import Connection, SessionLimits, first_line

USABLE = {IndexState.PRESENT, IndexState.COVERED}
# A session of this tool works on the index in the server, for this run or for a dead one.
IN_PROGRESS = {IndexState.BUILDING_OURS, IndexState.DROPPING_OURS}
_GONE = {IndexState.ABSENT, IndexState.COVERED}
_DROPPABLE = {IndexState.PRESENT, IndexState.INVALID_OURS, IndexState.DEGRADED}
_INVALID = {IndexState.INVALID_OURS, IndexState.INVALID_FOREIGN, IndexState.DEGRADED}
# Another session holds the table for longer than cleaning up may take.
_TABLE_HELD = {"57014", "55P03", "40P01"}


def drop(run: StepRun) -> AttemptResult:
    """Return how dropping the step's index ended."""
    error: psycopg.Error | None = None
    with closing(run.open_session()) as connection:
        observed = run.observe(connection)
        if observed.state is IndexState.DROPPING_OURS:
            # The session of a dead run holds the table's lock until its drop ends.
            follow(run, connection, observed)
        if not lock_table(run, connection):
            return STOPPED if run.context.stopping.is_set() else ANOTHER_RUN
        if run.step.kind is StepKind.DROP_INVALID:
            return drop_invalid(run) or AttemptResult(StepStatus.DONE)
        observed = run.observe(connection)
        if observed.state in _GONE:
            run.record(Phase.DROPPED, EventStatus.DONE, observed)
            return AttemptResult(StepStatus.DONE, message="already absent")
        if observed.state not in _DROPPABLE:
            return halted(observed)
        # Recorded before it starts: a drop that stops half-way leaves a valid index INVALID.
        run.record(Phase.DROPPING, EventStatus.IN_PROGRESS, observed)
        try:
            connection.execute(ddl.drop_index(run.index.relation))
        except psycopg.Error as raised:
            error = raised
    return _reconcile(run, error)


def _reconcile(run: StepRun, error: psycopg.Error | None) -> AttemptResult:
    """Return how the drop ended by what the catalogue shows now; the error only explains."""
    observed = observe_when_idle(run)
    if observed.state in _GONE:
        run.record(Phase.DROPPED, EventStatus.DONE, observed)
        return AttemptResult(StepStatus.DONE)
    if observed.state is IndexState.PRESENT:
        run.record(Phase.DROPPING, EventStatus.FAILED, observed)
        return failed(error, Stage.DROPPING)
    if observed.state in IN_PROGRESS:
        return detached(observed)
    reason = None if error is None else first_line(error)
    run.record(Phase.DROPPING, EventStatus.DEGRADED, observed, message=reason)
    message = f"the drop stopped half-way, {run.index.relation.quoted} is INVALID now: no query can use it"
    return AttemptResult(
        StepStatus.DEGRADED,
        sqlstate=None if error is None else error.sqlstate,
        message=message if reason is None else f"{message}; {reason}",
        hint="end the sessions that block the drop, then run rollback again to finish it, "
        "or init to build the index anew",
    )


def drop_invalid(run: StepRun) -> AttemptResult | None:
    """Return None if the step's index is not INVALID any more, else how dropping it ended.

    If other sessions hold its table, the index is renamed instead, and is a leftover of the run from then on.
    """
    budget_seconds = run.context.options.cleanup_budget_seconds
    deadline = time.monotonic() + budget_seconds
    limits = SessionLimits(statement_timeout_seconds=budget_seconds, lock_timeout_seconds=0)
    return run.clean_up(lambda connection: _drop_invalid_until(run, connection, deadline), limits)


def _drop_invalid_until(run: StepRun, connection: Connection, deadline: float) -> AttemptResult | None:
    while True:
        observed = run.observe(connection)
        if observed.state in USABLE or observed.state in _GONE:
            return None
        if observed.state not in _INVALID:
            return halted(observed)
        run.record_if_possible(Phase.CLEANUP, EventStatus.IN_PROGRESS, observed)
        message, sqlstate = "still exists", None
        try:
            connection.execute(ddl.drop_index(run.index.relation))
        except psycopg.Error as error:
            if is_connection_lost(error):
                raise
            message, sqlstate = f"could not be dropped: {first_line(error)}", error.sqlstate
        observed = run.observe(connection)
        if observed.state in _GONE:
            run.record_if_possible(Phase.CLEANUP, EventStatus.DONE, observed)
            return None
        may_retry = sqlstate is not None and classify(sqlstate, Stage.CLEANING).reaction is Reaction.RETRY
        is_last = not may_retry or time.monotonic() >= deadline
        # Once a step: every leftover slows writes and takes disk space.
        may_rename = is_last and sqlstate in _TABLE_HELD and not run.leftovers()
        if may_rename and rename_leftover(run, connection, observed):
            return None
        if is_last:
            run.record_if_possible(Phase.CLEANUP, EventStatus.LEFT_BEHIND, observed, message=message)
            return left_behind(run.index, message, sqlstate)
        time.sleep(run.context.options.poll_seconds)


def observe_when_idle(run: StepRun) -> ObservedIndex:
    """Return the state of the step's index once no session works on it, or the run stops waiting for that."""

    def observe(connection: Connection) -> ObservedIndex:
        observed = run.observe(connection)
        if observed.state in IN_PROGRESS:
            follow(run, connection, observed)
            return run.observe(connection)
        if observed.state is IndexState.BUILDING_FOREIGN:
            wait_until_free(run, connection, observed)
            return run.observe(connection)
        return observed

    return run.context.run_in_session("reconcile", observe)
