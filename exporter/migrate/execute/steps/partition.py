"""The steps that only partitioned tables have: creating, attaching to and dropping the parent index.

Each needs a lock that blocks other sessions, so it waits for that lock only a moment, lets the others pass,
and tries again within the lock budget.
"""

from __future__ import annotations

import random
import time
from contextlib import closing
from dataclasses import replace

import psycopg
from psycopg import sql

from exporter.migrate.execute.attempt import AttemptResult, halted
from exporter.migrate.execute.context import ExecutionContext
from exporter.migrate.execute.step_run import StepRun
from exporter.model import DeclaredIndex, IndexState, ObservedIndex, RelationName, Step, StepKind, StepStatus
from exporter.postgres import ddl
from exporter.postgres.journal import EventStatus, Phase
from exporter.postgres.relations.partitions import (
    Attachment,
    read_attachment,
    read_partition_indexes,
    read_partitions,
)
from exporter.postgres.target import Connection

_LOCK_TIMEOUT_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


def run_partition_step(run: StepRun, attempt: int) -> AttemptResult | None:
    """Return how the attempt ended; None if the step is not one of partitioned tables.

    Steps for a table that is not a partition any more have nothing to do.
    Raises: psycopg.Error, ExporterError.
    """
    if run.step.index is None:
        return None
    match run.step.kind:
        case StepKind.CREATE_PARENT:
            return replace(_create_parent(run), attempts=attempt)
        case StepKind.ATTACH if run.step.parent is not None:
            return replace(_attach(run, run.step.parent), attempts=attempt)
        case StepKind.DROP_PARENT:
            return replace(_drop_parent(run), attempts=attempt)
        case StepKind.DROP_INVALID if run.step.parent is not None:
            with closing(run.open_session()) as connection:
                return no_longer_partition(connection, run.step)
        case _:
            return None


def no_longer_partition(connection: Connection, step: Step) -> AttemptResult | None:
    """Return the result of a step whose table is not a partition any more; None if it is, or never was."""
    if step.index is None or step.parent is None:
        return None
    attachment = read_attachment(connection, step.index.table, step.index.name, step.parent)
    return None if attachment.is_partition else _detached_partition(step.index, attachment)


def _create_parent(run: StepRun) -> AttemptResult:
    with closing(run.open_session(lock_timeout_seconds=_LOCK_TIMEOUT_SECONDS)) as connection:
        observed = run.observe(connection)
        if observed.state in (IndexState.CONFLICT, IndexState.COVERED):
            return halted(observed)
        # The intent is recorded before the statement: whatever happens, the index is known as ours.
        run.record(Phase.BUILDING, EventStatus.IN_PROGRESS, observed)
        if observed.state is IndexState.ABSENT:
            statement = ddl.create_index(run.index, concurrently=False, only=True)
            try:
                _run_between_others(run, connection, statement)
            except psycopg.Error:
                if run.observe(connection).state is IndexState.ABSENT:
                    run.record(Phase.BUILDING, EventStatus.FAILED, observed)
                raise
            observed = run.observe(connection)
        if observed.state is IndexState.PRESENT:
            # A table without partitions: nothing is to be attached.
            run.record(Phase.CATALOG_OK, EventStatus.DONE, observed)
    return AttemptResult(StepStatus.DONE)


def _attach(run: StepRun, parent: RelationName) -> AttemptResult:
    index = run.index
    with closing(run.open_session(lock_timeout_seconds=_LOCK_TIMEOUT_SECONDS)) as connection:
        attachment = read_attachment(connection, index.table, index.name, parent)
        if not attachment.is_partition:
            return _detached_partition(index, attachment)
        missing = index.relation if attachment.indexrelid is None else parent
        if attachment.indexrelid is None or attachment.parent_indexrelid is None:
            return AttemptResult(
                StepStatus.FAILED,
                message=f"{missing.quoted} does not exist any more",
                hint="run the same command again: it makes a new plan",
            )
        if not attachment.is_usable:
            # PostgreSQL would accept it, and the parent index would never become valid.
            return AttemptResult(
                StepStatus.FAILED,
                message=f"{index.relation.quoted} is INVALID and was not attached",
                hint="run the same command again: it rebuilds INVALID indexes",
            )
        if not (attachment.is_attached and attachment.parent_is_valid):
            # The intent is recorded before the statement, which the server finishes even if this run dies:
            # a rollback must not drop an index that existed before.
            if not attachment.is_attached:
                _record_attachment(run, EventStatus.IN_PROGRESS, parent, attachment)
            _run_between_others(run, connection, ddl.attach_partition(parent, index.relation))
        after = read_attachment(connection, index.table, index.name, parent)
        if not attachment.is_attached:
            _record_attachment(run, EventStatus.DONE, parent, after)
        _record_valid_ancestors(run.context, after)
    return AttemptResult(StepStatus.DONE)


def _record_attachment(
    run: StepRun, status: EventStatus, parent: RelationName, attachment: Attachment
) -> None:
    index, created = run.index, run.context.journal.created()
    run.context.journal.append(
        Phase.ATTACHED,
        status,
        index_name=index.name,
        definition=created[index.name].definition if index.name in created else None,
        detail={
            "indexrelid": attachment.indexrelid,
            "schemaname": index.table.schemaname,
            "relname": index.table.relname,
            "parent": parent.relname,
            "stood_before": index.name not in created,
        },
    )


def _record_valid_ancestors(context: ExecutionContext, after: Attachment) -> None:
    """Record the parent indexes that became valid by the attachment."""
    created = context.journal.created()
    for name in after.valid_ancestors:
        if name in created and created[name].phase == Phase.BUILDING:
            context.journal.append(
                Phase.CATALOG_OK, EventStatus.DONE, index_name=name, definition=created[name].definition
            )


def _drop_parent(run: StepRun) -> AttemptResult:
    journal = run.context.journal
    with closing(run.open_session(lock_timeout_seconds=_LOCK_TIMEOUT_SECONDS)) as connection:
        observed = run.observe(connection)
        if observed.state is IndexState.ABSENT:
            return AttemptResult(StepStatus.DONE, message="already absent")
        if observed.state in (IndexState.CONFLICT, IndexState.COVERED):
            return halted(observed)
        created = journal.created()
        below = _partition_index_names(connection, observed) & created.keys()
        run.record(Phase.DROPPING, EventStatus.IN_PROGRESS, observed)
        statement = ddl.drop_index(run.index.relation, concurrently=False)
        try:
            _run_between_others(run, connection, statement)
        except psycopg.Error:
            # It drops all indexes or none.
            run.record(Phase.DROPPING, EventStatus.FAILED, observed)
            raise
        run.record(Phase.DROPPED, EventStatus.DONE, observed)
        for name in sorted(below - _partition_index_names(connection, observed)):
            journal.append(
                Phase.DROPPED, EventStatus.DONE, index_name=name, definition=created[name].definition
            )
    return AttemptResult(StepStatus.DONE)


def _partition_index_names(connection: Connection, observed: ObservedIndex) -> set[str]:
    """Return the names of all indexes on the partitions of the table, at every level."""
    if observed.relid is None:
        return set()
    partitions = read_partitions(connection, observed.relid)
    indexes = read_partition_indexes(connection, [table.relid for table in partitions])
    return {index.indexname for index in indexes}


def _run_between_others(run: StepRun, connection: Connection, statement: sql.Composable) -> None:
    """Run the statement; its lock is waited for a moment at a time, so that other sessions pass in between.

    Raises: psycopg.Error; LockNotAvailable when the lock budget is used up or the run stops.
    """
    stopping = run.context.stopping
    deadline = time.monotonic() + run.context.options.lock_budget_seconds
    pause_seconds = _FIRST_PAUSE_SECONDS
    while True:
        try:
            ddl.run_single(connection, statement)
        except psycopg.errors.LockNotAvailable:
            if stopping.is_set() or time.monotonic() >= deadline:
                raise
            run.note("other sessions hold the lock that it needs: trying again")
        else:
            return
        # The jitter keeps apart runs that try at the same intervals.
        stopping.wait(pause_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret is made of it
        pause_seconds = min(_LONGEST_PAUSE_SECONDS, 2 * pause_seconds)


def _detached_partition(index: DeclaredIndex, attachment: Attachment) -> AttemptResult:
    message = f"{index.table.quoted} is not a partition any more"
    if attachment.indexrelid is None:
        return AttemptResult(StepStatus.DONE, message=message)
    drop = ddl.as_text(ddl.drop_index(index.relation))
    return AttemptResult(
        StepStatus.DONE,
        message=f"{message}; its index stays",
        hint=f"if the index is not wanted there: {drop}",
    )
