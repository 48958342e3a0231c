"""INVALID indexes that cannot be dropped while other sessions hold their table: renamed, and dropped later.

Under another name they do not block the declared index, which can be built. The journal records them, so
that the same run, the next run or a rollback drops them.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace

import psycopg

from exporter.migrate.execute.adoption import lock_table
from exporter.migrate.execute.attempt import ANOTHER_RUN, STOPPED, AttemptResult
from exporter.migrate.execute.context import ExecutionContext
from exporter.migrate.execute.step_run import StepRun
from exporter.model import DeclaredIndex, ObservedIndex, RelationName, StepStatus
from exporter.parsing.text import MAX_IDENTIFIER_BYTES
from exporter.postgres import ddl
from exporter.postgres.journal import EventStatus, Leftover, Phase
from exporter.postgres.relations.tables import read_relation
from exporter.postgres.sessions.blockers import read_drop_blockers
from exporter.postgres.target import Connection, SessionLimits, first_line, set_session

_RENAME_LOCK_TIMEOUT = {"lock_timeout": "2000"}
_MOST_NAMED_HOLDERS = 3
_HINT = "after those sessions have ended, run the same command again: it drops the index; or: "


def leftover_name(name: str, run_id: str, number: int = 1) -> str:
    """Return the name that a run gives to an INVALID index, the n-th of that name."""
    suffix = f"_invalid_{run_id}" + (f"_{number}" if number > 1 else "")
    return name.encode()[: MAX_IDENTIFIER_BYTES - len(suffix)].decode(errors="ignore") + suffix


def rename_leftover(run: StepRun, connection: Connection, observed: ObservedIndex) -> bool:
    """Return True if the INVALID index was renamed, and journal and step know it.

    Takes ShareUpdateExclusiveLock on the index alone, which blocks neither readers nor writers of the table.
    """
    index, indexrelid = observed.declared, observed.indexrelid
    if indexrelid is None:
        return False
    name = _free_name(connection, index, run.context.journal.run)
    leftover = Leftover(indexrelid, name, index.table.schemaname, index.table.relname, index.name)
    held_by = describe_holders(connection, observed.relid)
    try:
        # Recorded before: without a record no later run would drop it.
        _record(run.context, leftover, EventStatus.IN_PROGRESS, held_by)
        set_session(connection, _RENAME_LOCK_TIMEOUT)
        connection.execute(ddl.rename_index(index.relation, name))
    except psycopg.Error:
        return False
    with suppress(psycopg.Error):
        _record(run.context, leftover, EventStatus.LEFT_BEHIND, held_by)
    run.add_leftover(leftover)
    run.note(describe(leftover) + (f": {held_by}" if held_by else ""))
    return True


def drop_leftover(run: StepRun, index: DeclaredIndex) -> AttemptResult:
    """Return how dropping a leftover ended, of an earlier run or of this one; `index` has its new name."""
    with closing(run.open_session()) as connection:
        # A drop beside a build on the same table would end that build.
        if not lock_table(run, connection):
            return STOPPED if run.context.stopping.is_set() else ANOTHER_RUN
        budget_seconds = run.context.options.cleanup_budget_seconds
        limits = SessionLimits(statement_timeout_seconds=budget_seconds, lock_timeout_seconds=0)
        return run.clean_up(lambda cleanup: _drop(run.context, cleanup, index), limits)


def _drop(context: ExecutionContext, connection: Connection, index: DeclaredIndex) -> AttemptResult:
    leftover = _recorded_leftover(context, index)
    if leftover is None:
        return AttemptResult(StepStatus.DONE, message="already gone")
    error: psycopg.Error | None = None
    try:
        connection.execute(ddl.drop_index(index.relation))
    except psycopg.OperationalError as raised:
        if connection.closed:
            raise
        error = raised
    except psycopg.Error as raised:
        error = raised
    if _recorded_leftover(context, index) is None:
        _record(context, leftover, EventStatus.DONE)
        return AttemptResult(StepStatus.DONE)
    relation = read_relation(connection, index.relation)
    held_by = describe_holders(connection, None if relation is None else relation.relid)
    _record(context, leftover, EventStatus.LEFT_BEHIND, held_by)
    reason = held_by or ("" if error is None else first_line(error))
    return still_left([leftover], reason, None if error is None else error.sqlstate)


def still_left(leftovers: list[Leftover], reason: str = "", sqlstate: str | None = None) -> AttemptResult:
    """Return the result of a step whose leftovers stay."""
    message = "; ".join(map(describe, leftovers)) + (f": {reason}" if reason else "")
    drops = "; ".join(ddl.as_text(ddl.drop_index(leftover.relation)) for leftover in leftovers)
    return AttemptResult(StepStatus.LEFT_BEHIND, sqlstate=sqlstate, message=message, hint=_HINT + drops)


def result_with_leftovers(result: AttemptResult, leftovers: list[Leftover]) -> AttemptResult:
    """Return the result with the step's leftovers in its message; if its work is not done, as left behind."""
    if not leftovers:
        return result
    left = still_left(leftovers)
    if result.status is StepStatus.DONE:
        return replace(result, message=left.message)
    return replace(
        left,
        attempts=result.attempts,
        sqlstate=result.sqlstate,
        message=f"{result.message}; {left.message}",
    )


def describe(leftover: Leftover) -> str:
    """Return in words which index was left, and under which name."""
    declared = RelationName(leftover.schemaname, leftover.renamed_from)
    return (
        f"the INVALID index {declared.quoted} could not be dropped and is called "
        f"{leftover.relation.quoted} now"
    )


def describe_holders(connection: Connection, relid: int | None) -> str:
    """Return in words which sessions block a drop on the table; empty if there are none any more."""
    blockers = read_drop_blockers(connection, [] if relid is None else [relid])
    holders = [blocker.described for blocker in blockers if not blocker.gives_way]
    named = holders[:_MOST_NAMED_HOLDERS]
    if len(holders) > len(named):
        named.append(f"and {len(holders) - len(named)} more")
    return f"the table is held by {'; '.join(named)}" if named else ""


def _recorded_leftover(context: ExecutionContext, index: DeclaredIndex) -> Leftover | None:
    """Return the leftover of that name if the journal records it and it still exists."""
    leftovers = context.journal.leftovers()
    return next((leftover for leftover in leftovers if leftover.relation == index.relation), None)


def _free_name(connection: Connection, index: DeclaredIndex, run_id: str) -> str:
    """Return the first name for the leftover that no relation of its schema has."""
    number, name = 1, leftover_name(index.name, run_id)
    while read_relation(connection, RelationName(index.table.schemaname, name)) is not None:
        number += 1
        name = leftover_name(index.name, run_id, number)
    return name


def _record(context: ExecutionContext, leftover: Leftover, status: EventStatus, held_by: str = "") -> None:
    detail = {
        "indexrelid": leftover.indexrelid,
        "renamed_from": leftover.renamed_from,
        "schemaname": leftover.schemaname,
        "relname": leftover.relname,
    }
    context.journal.append(
        Phase.CLEANUP,
        status,
        index_name=leftover.indexname,
        detail=detail | ({"message": held_by} if held_by else {}),
    )
