"""The steps that only partitioned tables have: the index of the whole, attaching to it, dropping it.

Each takes a lock that makes others wait, so it waits for that lock a moment only, lets them pass, and tries
again within the budget for locks.
"""

from __future__ import annotations

import random
import time
from contextlib import closing
from dataclasses import replace

import psycopg
from psycopg import sql

from exporter.migrate.execute.attempt import AttemptResult, halted
from exporter.migrate.execute.step_run import Site
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
_LONGEST_PAUSE_SECONDS = 5.0


def run_partition_step(site: Site, step: Step, attempt: int) -> AttemptResult | None:
    """How the attempt ended; None when the step is an ordinary one, to be run as such.

    Steps for a table that is a partition no more have nothing to do.
    Raises: psycopg.Error, ExporterError.
    """
    if step.index is None:
        return None
    match step.kind:
        case StepKind.CREATE_PARENT:
            return replace(_create_parent(site, step, step.index), attempts=attempt)
        case StepKind.ATTACH if step.parent is not None:
            return replace(_attach(site, step, step.index, step.parent), attempts=attempt)
        case StepKind.DROP_PARENT:
            return replace(_drop_parent(site, step, step.index), attempts=attempt)
        case StepKind.DROP_INVALID if step.parent is not None:
            with closing(site.session(step)) as connection:
                return needless(connection, step)
        case _:
            return None


def needless(connection: Connection, step: Step) -> AttemptResult | None:
    """How a step for a partition ends whose table is none any more; None where it is one, or never was."""
    if step.index is None or step.parent is None:
        return None
    attachment = read_attachment(connection, step.index.table, step.index.name, step.parent)
    return None if attachment.is_partition else _no_partition(step.index, attachment)


def _create_parent(site: Site, step: Step, index: DeclaredIndex) -> AttemptResult:
    with closing(site.session(step, lock_timeout_seconds=_LOCK_TIMEOUT_SECONDS)) as connection:
        observed = site.observe(connection, index)
        if observed.state in (IndexState.CONFLICT, IndexState.COVERED):
            return halted(observed)
        # The intent comes before the statement: whatever happens next, the index is known as ours.
        site.record(Phase.BUILDING, EventStatus.IN_PROGRESS, observed)
        if observed.state is IndexState.ABSENT:
            statement = ddl.create_index(index, concurrently=False, only=True)
            try:
                _run_patiently(site, step, connection, statement)
            except psycopg.Error:
                if site.observe(connection, index).state is IndexState.ABSENT:
                    site.record(Phase.BUILDING, EventStatus.FAILED, observed)
                raise
            observed = site.observe(connection, index)
        if observed.state is IndexState.PRESENT:
            # Without partitions there is nothing to wait for.
            site.record(Phase.CATALOG_OK, EventStatus.DONE, observed)
    return AttemptResult(StepStatus.DONE)


def _attach(site: Site, step: Step, index: DeclaredIndex, parent: RelationName) -> AttemptResult:
    with closing(site.session(step, lock_timeout_seconds=_LOCK_TIMEOUT_SECONDS)) as connection:

        def look() -> Attachment:
            return read_attachment(connection, index.table, index.name, parent)

        attachment = look()
        if not attachment.is_partition:
            return _no_partition(index, attachment)
        missing = index.relation if attachment.indexrelid is None else parent
        if attachment.indexrelid is None or attachment.parent_indexrelid is None:
            return AttemptResult(
                StepStatus.FAILED,
                message=f"{missing.quoted} is not there any more",
                hint="run the same command again: it plans anew",
            )
        if not attachment.is_usable:
            # PostgreSQL would take it, and the index above would never become valid.
            return AttemptResult(
                StepStatus.FAILED,
                message=f"{index.relation.quoted} is INVALID and is not attached",
                hint="run the same command again: it rebuilds what is INVALID",
            )
        if not (attachment.is_attached and attachment.parent_is_valid):
            # The intent comes before the statement, which goes on in the server when we die: what stood
            # before is not to be dropped with ours.
            if not attachment.is_attached:
                _record_attachment(site, EventStatus.IN_PROGRESS, index, parent, attachment)
            _run_patiently(site, step, connection, ddl.attach_partition(parent, index.relation))
        after = look()
        if not attachment.is_attached:
            _record_attachment(site, EventStatus.DONE, index, parent, after)
        _record_whole(site, after)
    return AttemptResult(StepStatus.DONE)


def _record_attachment(
    site: Site, status: EventStatus, index: DeclaredIndex, parent: RelationName, attachment: Attachment
) -> None:
    created = site.journal.created()
    site.journal.append(
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


def _record_whole(site: Site, after: Attachment) -> None:
    """Tells the journal of the indexes above that became valid."""
    created = site.journal.created()
    for name in after.valid_ancestors:
        if name in created and created[name].phase == Phase.BUILDING:
            site.journal.append(
                Phase.CATALOG_OK, EventStatus.DONE, index_name=name, definition=created[name].definition
            )


def _drop_parent(site: Site, step: Step, index: DeclaredIndex) -> AttemptResult:
    with closing(site.session(step, lock_timeout_seconds=_LOCK_TIMEOUT_SECONDS)) as connection:
        observed = site.observe(connection, index)
        if observed.state is IndexState.ABSENT:
            return AttemptResult(StepStatus.DONE, message="already absent")
        if observed.state in (IndexState.CONFLICT, IndexState.COVERED):
            return halted(observed)
        created = site.journal.created()
        below = _names_below(connection, observed) & created.keys()
        site.record(Phase.DROPPING, EventStatus.IN_PROGRESS, observed)
        try:
            _run_patiently(site, step, connection, ddl.drop_index(index.relation, concurrently=False))
        except psycopg.Error:
            # It goes whole or not at all.
            site.record(Phase.DROPPING, EventStatus.FAILED, observed)
            raise
        site.record(Phase.DROPPED, EventStatus.DONE, observed)
        for name in sorted(below - _names_below(connection, observed)):
            site.journal.append(
                Phase.DROPPED, EventStatus.DONE, index_name=name, definition=created[name].definition
            )
    return AttemptResult(StepStatus.DONE)


def _names_below(connection: Connection, observed: ObservedIndex) -> set[str]:
    """The names of all indexes of the tables below the partitioned one."""
    if observed.relid is None:
        return set()
    tree = read_partitions(connection, observed.relid)
    found = read_partition_indexes(connection, [table.relid for table in tree])
    return {index.indexname for index in found}


def _run_patiently(site: Site, step: Step, connection: Connection, statement: sql.Composable) -> None:
    """Runs the statement, waiting for its lock a moment at a time so that others pass in between.

    Raises: psycopg.Error, LockNotAvailable when the budget for locks is used up or the run is stopped.
    """
    deadline = time.monotonic() + site.options.lock_budget_seconds
    pause_seconds = 0.2
    while True:
        try:
            ddl.run_single(connection, statement)
        except psycopg.errors.LockNotAvailable:
            if site.stopping.is_set() or time.monotonic() >= deadline:
                raise
            site.on_note(step, "others hold the lock it needs; tries again")
        else:
            return
        # Not in step with others that try at the same rhythm.
        site.stopping.wait(pause_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret is made of it
        pause_seconds = min(_LONGEST_PAUSE_SECONDS, 2 * pause_seconds)


def _no_partition(index: DeclaredIndex, attachment: Attachment) -> AttemptResult:
    message = f"{index.table.quoted} is no partition any more"
    if attachment.indexrelid is None:
        return AttemptResult(StepStatus.DONE, message=message)
    drop = ddl.as_text(ddl.drop_index(index.relation))
    return AttemptResult(
        StepStatus.DONE,
        message=f"{message}; its index stays",
        hint=f"if it is not wanted there: {drop}",
    )
