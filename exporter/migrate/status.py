"""Where every declared index of a migration stands, by the catalogue and the journal. Changes nothing.

Also for a role that may neither build nor write, on a standby, without a journal, and while a build runs:
what cannot be asked is said to be unknown, and the rest is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg

from exporter.migrate.assessment import control_session
from exporter.migrate.observe.indexes import observe_among, observe_index
from exporter.migrate.observe.partitions import observe_partitions
from exporter.migrate.options import RunOptions
from exporter.migrate.outcome import now
from exporter.model import Database, DeclaredIndex, IndexState, Manifest, ObservedIndex
from exporter.postgres.builds.progress import BuildProgress, read_builds
from exporter.postgres.fetching import fetch, read_facts
from exporter.postgres.journal import CreatedIndex, LogRow
from exporter.postgres.relations.tables import (
    CompiledIndex,
    TableFacts,
    compile_index,
    read_table,
    read_table_indexes,
)
from exporter.postgres.sessions.locks import LockHolder, read_lock_holder
from exporter.postgres.sessions.tool_sessions import run_of
from exporter.postgres.target import Connection, address, first_line

# The declaration cannot be compiled by this role, on this server or at this moment: nothing is wrong with it.
_NOT_COMPILED = ("42501", "25006", "55P03", "57014")


@dataclass(frozen=True, slots=True)
class SessionStart:
    """Since when a session works on its statement. Source: pg_stat_activity.query_start."""

    pid: int
    query_start: datetime | None


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """Where one declared index stands.

    `compared_with` is declaration (compiled by the server now) or journal (as it was compiled then), None
    where neither could be had: then `not_compared` says why, and whether it is the declared one is not known.
    `progress` is what works on it now, `run` the run of this tool that does, `since` when it began.
    `holder` is the session of this tool that holds the table for another index of it, or is about to begin.
    """

    observed: ObservedIndex
    compared_with: str | None
    not_compared: str | None
    log: LogRow | None
    progress: BuildProgress | None = None
    run: str | None = None
    since: datetime | None = None
    holder: LockHolder | None = None

    @property
    def is_settled(self) -> bool:
        """True when it stands as declared, under this name or another."""
        return self.compared_with is not None and self.observed.state in _SETTLED


@dataclass(frozen=True, slots=True)
class Status:
    """Where a migration stands in one database; `no_journal` says why the journal could not be read."""

    migration: str
    datname: str
    address: str
    server_version: str
    in_recovery: bool
    at: datetime
    no_journal: str | None
    log: LogRow | None
    indexes: tuple[IndexStatus, ...]


_SETTLED = {IndexState.PRESENT, IndexState.COVERED}


def read_status(database: Database, manifest: Manifest, options: RunOptions) -> Status:
    """Where every declared index stands now."""
    with control_session(database, manifest, options, "status") as (connection, journal):
        facts = read_facts(connection)
        no_journal = journal.unreadable_because()
        created: Mapping[str, CreatedIndex] = journal.created() if no_journal is None else {}
        log: Mapping[str | None, LogRow] = journal.latest() if no_journal is None else {}
        indexes = [_look(connection, index, created, log.get(index.name)) for index in manifest.indexes]
        return Status(
            manifest.migration,
            database.datname,
            address(database),
            facts.server_version,
            facts.in_recovery,
            now(),
            no_journal,
            log.get(None),
            _with_work(connection, indexes),
        )


def _look(
    connection: Connection,
    index: DeclaredIndex,
    created: Mapping[str, CreatedIndex],
    log: LogRow | None,
) -> IndexStatus:
    table = read_table(connection, index.table)
    if table is None:
        return _unfit(index, f"there is no table {index.table.quoted}", log)
    compared_with, not_compared = "declaration", None
    try:
        compiled: CompiledIndex | None = compile_index(connection, index)
    except psycopg.Error as error:
        if error.sqlstate not in _NOT_COMPILED:
            return _unfit(index, f"the server refuses the declaration: {first_line(error)}", log)
        not_compared = first_line(error)
        compiled = _compiled_before(connection, table, log)
        compared_with = "journal"
    if compiled is not None:
        observed = observe_index(connection, index, compiled, table, created)
        if observed.is_partitioned:
            observed = observe_partitions(connection, observed, compiled, created, (), observe_among)
        return IndexStatus(observed, compared_with, not_compared, log)
    named = [one for one in read_table_indexes(connection, table.relid) if one.indexname == index.name]
    taken_for = named[0] if named else None
    # Taken for what it is: its state is known, whether it is the declared one is not.
    compiled = (
        CompiledIndex("", False, "")
        if taken_for is None
        else CompiledIndex(taken_for.definition, taken_for.indisunique, taken_for.nature)
    )
    return IndexStatus(observe_index(connection, index, compiled, table, created), None, not_compared, log)


def _compiled_before(connection: Connection, table: TableFacts, log: LogRow | None) -> CompiledIndex | None:
    """The canonical form that the journal keeps; its part without names is known where an index has it."""
    if log is None or log.definition is None:
        return None
    definition = log.definition
    is_unique = definition.startswith("CREATE UNIQUE ")
    siblings = read_table_indexes(connection, table.relid)
    natures = [one.nature for one in siblings if definition.endswith(" " + one.nature)]
    return CompiledIndex(definition, is_unique, natures[0] if natures else definition)


def _unfit(index: DeclaredIndex, detail: str, log: LogRow | None) -> IndexStatus:
    return IndexStatus(ObservedIndex(index, IndexState.CONFLICT, "", detail=detail), None, None, log)


def _with_holder(connection: Connection, index: IndexStatus) -> IndexStatus:
    """The same with who holds the table of what nobody builds: a run that lives is not taken for dead."""
    relid = index.observed.relid
    if index.observed.builder_pid is not None or relid is None:
        return index
    return replace(index, holder=read_lock_holder(connection, relid))


def _with_work(connection: Connection, indexes: Sequence[IndexStatus]) -> tuple[IndexStatus, ...]:
    """The same with what works on them: phase, share, whom it waits for, which run and since when."""
    indexes = [_with_holder(connection, one) for one in indexes]
    pids = [one.observed.builder_pid for one in indexes if one.observed.builder_pid is not None]
    if not pids:
        return tuple(indexes)
    work = {build.pid: build for build in read_builds(connection, pids)}
    starts = {
        row.pid: row.query_start for row in fetch(connection, "session_starts", SessionStart, pids=pids)
    }
    found: list[IndexStatus] = []
    for one in indexes:
        pid = one.observed.builder_pid or 0
        build = work.get(pid)
        found.append(
            replace(
                one,
                progress=build,
                run=None if build is None else run_of(build.application_name),
                since=starts.get(pid),
            )
        )
    return tuple(found)
