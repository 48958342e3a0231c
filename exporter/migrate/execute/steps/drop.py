"""Dropping indexes: what an attempt left INVALID, and what a rollback takes back.

A drop that stops half-way leaves a valid index INVALID. Whatever the statement said, the catalogue is asked.
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
    ended_by,
    halted,
    is_connection_lost,
    left_behind,
)
from exporter.migrate.execute.sqlstates import Reaction, Stage, classify
from exporter.migrate.execute.step_run import Site
from exporter.migrate.execute.steps.leftovers import set_aside
from exporter.model import DeclaredIndex, IndexState, ObservedIndex, Step, StepKind, StepStatus
from exporter.postgres import ddl
from exporter.postgres.journal import EventStatus, Phase
from exporter.postgres.target import Connection, SessionLimits, first_line

STANDING = {IndexState.PRESENT, IndexState.COVERED}
GONE = {IndexState.ABSENT, IndexState.COVERED}
# A session of this tool works on it in the server, for us or for a run that died.
AT_WORK = {IndexState.BUILDING_OURS, IndexState.DROPPING_OURS}
_DROPPABLE = {IndexState.PRESENT, IndexState.INVALID_OURS, IndexState.DEGRADED}
# Somebody holds the table for longer than cleaning up may take.
_HELD = {"57014", "55P03", "40P01"}
_INVALID = {IndexState.INVALID_OURS, IndexState.INVALID_FOREIGN, IndexState.DEGRADED}


def drop(site: Site, step: Step, index: DeclaredIndex) -> AttemptResult:
    """How dropping an index ended: an INVALID leftover, or one that a rollback takes back."""
    failure: psycopg.Error | None = None
    with closing(site.session(step)) as connection:
        observed = site.observe(connection, index)
        if observed.state is IndexState.DROPPING_OURS:
            # A dead run's session holds the table's lock until its drop ends.
            follow(site, step, connection, observed)
        if not lock_table(site, step, connection):
            return STOPPED if site.stopping.is_set() else ANOTHER_RUN
        if step.kind is StepKind.DROP_INVALID:
            return drop_invalid(site, step, index) or AttemptResult(StepStatus.DONE)
        observed = site.observe(connection, index)
        if observed.state in GONE:
            site.record(Phase.DROPPED, EventStatus.DONE, observed)
            return AttemptResult(StepStatus.DONE, message="already absent")
        if observed.state not in _DROPPABLE:
            return halted(observed)
        # A drop that stops half-way leaves a valid index INVALID: on record before it begins.
        site.record(Phase.DROPPING, EventStatus.IN_PROGRESS, observed)
        try:
            connection.execute(ddl.drop_index(index.relation))
        except psycopg.Error as error:
            failure = error
    observed = observe_at_rest(site, step, index)
    if observed.state in GONE:
        site.record(Phase.DROPPED, EventStatus.DONE, observed)
        return AttemptResult(StepStatus.DONE)
    if observed.state is IndexState.PRESENT:
        site.record(Phase.DROPPING, EventStatus.FAILED, observed)
        return ended_by(failure, Stage.DROPPING)
    if observed.state in AT_WORK:
        return detached(observed)
    site.record(
        Phase.DROPPING,
        EventStatus.DEGRADED,
        observed,
        message=None if failure is None else first_line(failure),
    )
    return AttemptResult(
        StepStatus.DEGRADED,
        sqlstate=failure.sqlstate if failure is not None else None,
        message=f"the drop stopped half-way, {index.relation.quoted} is INVALID now: no query may use it"
        + ("" if failure is None else f"; {first_line(failure)}"),
        hint="end what blocks it, then run rollback again: it finishes the drop; or init: it builds it anew",
    )


def drop_invalid(site: Site, step: Step, index: DeclaredIndex) -> AttemptResult | None:
    """None when no INVALID index bears the name any more, else what remains and how to remove it.

    One that cannot be dropped while somebody holds the table is set aside: the site knows it then.
    """
    deadline = time.monotonic() + site.options.cleanup_budget_seconds
    limits = SessionLimits(
        statement_timeout_seconds=site.options.cleanup_budget_seconds, lock_timeout_seconds=0
    )
    return site.beside(
        "cleanup",
        lambda connection: _drop_invalid_until(site, step, connection, index, deadline),
        limits,
        step=step,
    )


def _drop_invalid_until(
    site: Site, step: Step, connection: Connection, index: DeclaredIndex, deadline: float
) -> AttemptResult | None:
    while True:
        observed = site.observe(connection, index)
        if observed.state in STANDING or observed.state in GONE:
            return None
        if observed.state not in _INVALID:
            return halted(observed)
        site.record_if_possible(Phase.CLEANUP, EventStatus.IN_PROGRESS, observed)
        message, failure = "is still there", None
        try:
            connection.execute(ddl.drop_index(index.relation))
        except psycopg.Error as error:
            if is_connection_lost(error):
                raise
            message, failure = f"could not be dropped: {first_line(error)}", error.sqlstate
        observed = site.observe(connection, index)
        if observed.state in GONE:
            site.record_if_possible(Phase.CLEANUP, EventStatus.DONE, observed)
            return None
        again = failure is not None and classify(failure, Stage.CLEANING).reaction is Reaction.RETRY
        is_over = not again or time.monotonic() >= deadline
        # Once a step: every one costs writes and disk.
        may_set_aside = is_over and failure in _HELD and not site.leftovers(step)
        if may_set_aside and set_aside(site, step, connection, observed):
            return None
        if is_over:
            site.record_if_possible(Phase.CLEANUP, EventStatus.LEFT_BEHIND, observed, message=message)
            return left_behind(index, message, failure)
        time.sleep(site.options.poll_seconds)


def observe_at_rest(site: Site, step: Step, index: DeclaredIndex) -> ObservedIndex:
    """Where the index stands once nobody works on its table, or we stop waiting for that."""

    def look(connection: Connection) -> ObservedIndex:
        observed = site.observe(connection, index)
        if observed.state in AT_WORK:
            follow(site, step, connection, observed)
            return site.observe(connection, index)
        if observed.state is IndexState.BUILDING_FOREIGN:
            wait_until_free(site, step, connection, observed)
            return site.observe(connection, index)
        return observed

    return site.beside("reconcile", look)
