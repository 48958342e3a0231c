"""INVALID indexes that cannot be dropped while somebody holds their table: set aside, and dropped later.

Under another name they stand in nobody's way: the declared one can be built. The journal knows them, so that
the same run, the next one or a rollback drops them.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace

import psycopg

from exporter.migrate.execute.adoption import lock_table
from exporter.migrate.execute.attempt import ANOTHER_RUN, STOPPED, AttemptResult
from exporter.migrate.execute.step_run import Site
from exporter.model import DeclaredIndex, ObservedIndex, RelationName, Step, StepStatus
from exporter.parsing.text import MAX_IDENTIFIER_BYTES
from exporter.postgres import ddl
from exporter.postgres.journal import EventStatus, Leftover, Phase
from exporter.postgres.relations.tables import read_relation
from exporter.postgres.sessions.blockers import read_drop_blockers
from exporter.postgres.target import Connection, SessionLimits, first_line, set_session

_RENAME_LOCK_TIMEOUT = {"lock_timeout": "2000"}
_NAMED_HOLDERS = 3
_HINT = "once those sessions have ended, run the same command again: it drops it; or: "


def leftover_name(name: str, run: str, number: int = 1) -> str:
    """The name under which an INVALID index is set aside by a run, for the n-th time."""
    suffix = f"_invalid_{run}" + (f"_{number}" if number > 1 else "")
    return name.encode()[: MAX_IDENTIFIER_BYTES - len(suffix)].decode(errors="ignore") + suffix


def set_aside(site: Site, step: Step, connection: Connection, observed: ObservedIndex) -> bool:
    """True when the INVALID index bears another name now, and journal and site know it.

    Takes ShareUpdateExclusiveLock on the index alone, which readers and writers of the table do not mind.
    """
    index, oid = observed.declared, observed.indexrelid
    if oid is None:
        return False
    number = 1
    while (name := _free_name(connection, index, site.journal.run, number)) is None:
        number += 1
    leftover = Leftover(oid, name, index.table.schemaname, index.table.relname, index.name)
    held_by = holders(connection, observed.relid)
    try:
        # Where the journal cannot have it, nobody would find it again.
        _record(site, leftover, EventStatus.IN_PROGRESS, held_by)
        set_session(connection, _RENAME_LOCK_TIMEOUT)
        connection.execute(ddl.rename_index(index.relation, name))
    except psycopg.Error:
        return False
    with suppress(psycopg.Error):
        _record(site, leftover, EventStatus.LEFT_BEHIND, held_by)
    site.add_leftover(step, leftover)
    site.on_note(step, describe(leftover) + (f": {held_by}" if held_by else ""))
    return True


def drop_leftover(site: Site, step: Step, index: DeclaredIndex, *, budget_seconds: float) -> AttemptResult:
    """How dropping an index ended that was set aside: by an earlier run, or by this one."""
    with closing(site.session(step)) as connection:
        # A drop beside a build on the same table would end that build.
        if not lock_table(site, step, connection):
            return STOPPED if site.stopping.is_set() else ANOTHER_RUN
        limits = SessionLimits(statement_timeout_seconds=budget_seconds, lock_timeout_seconds=0)
        return site.beside("cleanup", lambda beside: _drop(site, beside, index), limits, step=step)


def _drop(site: Site, connection: Connection, index: DeclaredIndex) -> AttemptResult:
    leftover = _standing(site, index)
    if leftover is None:
        return AttemptResult(StepStatus.DONE, message="already gone")
    failure: psycopg.Error | None = None
    try:
        connection.execute(ddl.drop_index(index.relation))
    except psycopg.OperationalError as error:
        if connection.closed:
            raise
        failure = error
    except psycopg.Error as error:
        failure = error
    if _standing(site, index) is None:
        _record(site, leftover, EventStatus.DONE)
        return AttemptResult(StepStatus.DONE)
    relation = read_relation(connection, index.relation)
    held_by = holders(connection, None if relation is None else relation.relid)
    _record(site, leftover, EventStatus.LEFT_BEHIND, held_by)
    why = held_by or ("" if failure is None else first_line(failure))
    return still_there([leftover], why, failure.sqlstate if failure is not None else None)


def still_there(leftovers: list[Leftover], why: str = "", sqlstate: str | None = None) -> AttemptResult:
    """How a step ended of which INVALID indexes stay that were set aside."""
    told = "; ".join(map(describe, leftovers)) + (f": {why}" if why else "")
    drops = "; ".join(ddl.as_text(ddl.drop_index(one.relation)) for one in leftovers)
    return AttemptResult(StepStatus.LEFT_BEHIND, sqlstate=sqlstate, message=told, hint=_HINT + drops)


def with_leftovers(ended: AttemptResult, leftovers: list[Leftover]) -> AttemptResult:
    """The end of a step that set indexes aside: good where its work is done, else something is left."""
    if not leftovers:
        return ended
    left = still_there(leftovers)
    if ended.status is StepStatus.DONE:
        return replace(ended, message=left.message)
    return replace(
        left,
        attempts=ended.attempts,
        sqlstate=ended.sqlstate,
        message=f"{ended.message}; {left.message}",
    )


def describe(leftover: Leftover) -> str:
    """What was left and under which name, in words."""
    from_name = RelationName(leftover.schemaname, leftover.renamed_from)
    return (
        f"the INVALID index {from_name.quoted} could not be dropped and is called "
        f"{leftover.relation.quoted} now"
    )


def holders(connection: Connection, relid: int | None) -> str:
    """Who holds the table against a drop, in words; empty where nobody does any more."""
    found = [
        one.described
        for one in read_drop_blockers(connection, [] if relid is None else [relid])
        if not one.gives_way
    ]
    more = [f"and {len(found) - _NAMED_HOLDERS} more"] if len(found) > _NAMED_HOLDERS else []
    told = "; ".join(found[:_NAMED_HOLDERS] + more)
    return f"the table is held by {told}" if told else ""


def _standing(site: Site, index: DeclaredIndex) -> Leftover | None:
    found = (one for one in site.journal.leftovers() if one.relation == index.relation)
    return next(found, None)


def _free_name(connection: Connection, index: DeclaredIndex, run: str, number: int) -> str | None:
    name = leftover_name(index.name, run, number)
    taken = read_relation(connection, RelationName(index.table.schemaname, name))
    return name if taken is None else None


def _record(site: Site, leftover: Leftover, status: EventStatus, held_by: str = "") -> None:
    detail = {
        "indexrelid": leftover.indexrelid,
        "renamed_from": leftover.renamed_from,
        "schemaname": leftover.schemaname,
        "relname": leftover.relname,
    }
    site.journal.append(
        Phase.CLEANUP,
        status,
        index_name=leftover.indexname,
        detail=detail | ({"message": held_by} if held_by else {}),
    )
