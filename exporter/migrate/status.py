"""The status command: the state of every declared index, by the catalogue and the journal. Changes nothing.

Works for a role that may neither build nor write, on a standby, without a journal, and while a build runs:
what cannot be read is unknown, the rest is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg

from exporter.migrate.observe.compiled import NOT_COMPILED, compiled_before
from exporter.migrate.observe.index_catalog import IndexCatalog
from exporter.migrate.observe.indexes import observe_index
from exporter.migrate.observe.partitions import observe_partitions
from exporter.migrate.observe.table_kinds import why_unfit
from exporter.migrate.options import RunOptions
from exporter.migrate.run import now, open_run
from exporter.model import Database, DeclaredIndex, IndexState, Manifest, ObservedIndex
from exporter.postgres.builds.progress import BuildProgress, read_builds
from exporter.postgres.fetching import read_facts
from exporter.postgres.journal import CreatedIndex, LogRow, Phase
from exporter.postgres.relations.index_facts import read_index_sizes
from exporter.postgres.relations.index_usage import read_index_scans
from exporter.postgres.relations.tables import (
    CompiledIndex,
    compile_index,
    read_table,
)
from exporter.postgres.server.statistics import read_epoch
from exporter.postgres.sessions.locks import LockHolder, read_lock_holder
from exporter.postgres.sessions.tool_sessions import read_session_starts, run_of
from exporter.postgres.target import Connection, address, first_line

SIZE_BUDGET_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class IndexUsage:
    """The scans of an index, the time that they count from, and its size. Units: bytes.

    `created_at` is when this tool saw its build end, None where the journal does not say so;
    `counters_since` is when the database's counters began.
    """

    idx_scan: int | None
    last_idx_scan: datetime | None
    created_at: datetime | None
    counters_since: datetime | None
    size_bytes: int | None

    @property
    def since(self) -> datetime | None:
        """The time that the scans count from: the later one, as far as it is known."""
        known = [at for at in (self.created_at, self.counters_since) if at is not None]
        return max(known, default=None)


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The state of one declared index.

    `compared_with` is declaration (compiled by the server now) or journal (as it was compiled then). It is
    None where neither is available: `not_compared` says why, and it is unknown whether the index is the
    declared one. `progress` is the build or drop that works on it, `run` this tool's run, `since` its start.
    `holder` is the session of this tool that holds the table for another index of it, or is about to start.
    `usage` is None where no index exists.
    """

    observed: ObservedIndex
    compared_with: str | None
    not_compared: str | None
    log: LogRow | None
    progress: BuildProgress | None = None
    run: str | None = None
    since: datetime | None = None
    holder: LockHolder | None = None
    usage: IndexUsage | None = None

    @property
    def is_settled(self) -> bool:
        """True when the index is present as declared, under this name or another."""
        return self.compared_with is not None and self.observed.state in _SETTLED


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a migration in one database; `no_journal` says why the journal cannot be read."""

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
    """The state of every declared index now."""
    with open_run("status", database, manifest, options) as run:
        connection, journal = run.connection, run.journal
        facts = read_facts(connection)
        no_journal = journal.unreadable_because()
        created: Mapping[str, CreatedIndex] = journal.created() if no_journal is None else {}
        log: Mapping[str | None, LogRow] = journal.latest() if no_journal is None else {}
        indexes = [_read(connection, index, created, log.get(index.name)) for index in manifest.indexes]
        return Status(
            manifest.migration,
            database.datname,
            address(database),
            facts.server_version,
            facts.in_recovery,
            now(),
            no_journal,
            log.get(None),
            _with_usage(connection, _with_work(connection, indexes), created),
        )


def _with_usage(
    connection: Connection, indexes: Sequence[IndexStatus], created: Mapping[str, CreatedIndex]
) -> tuple[IndexStatus, ...]:
    """The same with scans and size of each index that exists."""
    oids = [one.observed.indexrelid for one in indexes if one.observed.indexrelid is not None]
    scans = read_index_scans(connection, oids) if oids else {}
    began = read_epoch(connection).counters_since if scans else None
    counters_since = None if began is None else datetime.fromtimestamp(began, UTC)
    with_usage: list[IndexStatus] = []
    for one in indexes:
        row = scans.get(one.observed.indexrelid or 0)
        if row is not None:
            entry = created.get(one.observed.declared.name)
            usage = IndexUsage(
                row.idx_scan,
                row.last_idx_scan,
                entry.at if entry is not None and entry.phase == Phase.CATALOG_OK else None,
                counters_since,
                _size_bytes(connection, one.observed),
            )
            with_usage.append(replace(one, usage=usage))
        else:
            with_usage.append(one)
    return tuple(with_usage)


def _size_bytes(connection: Connection, observed: ObservedIndex) -> int | None:
    """The size of the index; None while it or its table is locked."""
    try:
        sizes = read_index_sizes(
            connection, observed.indexrelid, observed.relid, budget_seconds=SIZE_BUDGET_SECONDS
        )
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        return None
    return sizes.size_bytes


def _read(
    connection: Connection,
    index: DeclaredIndex,
    created: Mapping[str, CreatedIndex],
    log: LogRow | None,
) -> IndexStatus:
    table = read_table(connection, index.table)
    unfit = why_unfit(index.table, table)
    if table is None or unfit is not None:
        what = f"there is no table {index.table.quoted}" if unfit is None else unfit[0]
        return IndexStatus(ObservedIndex(index, IndexState.ABSENT, "", detail=what), None, what, log)
    compared_with, not_compared = "declaration", None
    try:
        compiled: CompiledIndex | None = compile_index(connection, index)
    except psycopg.Error as error:
        not_compared = first_line(error)
        compared_with, compiled = "journal", None
        if error.sqlstate in NOT_COMPILED:
            compiled = compiled_before(connection, table, None if log is None else log.definition)
        else:
            not_compared = f"the server refuses the declaration: {not_compared}"
    if compiled is not None:
        observed = observe_index(connection, index, compiled, table, created)
        if observed.is_partitioned:
            observed = observe_partitions(connection, observed, compiled, created)
        return IndexStatus(observed, compared_with, not_compared, log)
    catalog = IndexCatalog.read(connection, table.relid, created)
    named = catalog.named(index.name)
    # Compared with itself: its state is known, whether it is the declared one is not.
    compiled = (
        CompiledIndex("", False, "")
        if named is None
        else CompiledIndex(named.definition, named.indisunique, named.nature)
    )
    return IndexStatus(observe_index(connection, index, compiled, table, created), None, not_compared, log)


def _with_holder(connection: Connection, index: IndexStatus) -> IndexStatus:
    """The same with the holder of the table where no session builds the index: its run may be alive."""
    relid = index.observed.relid
    if index.observed.builder_pid is not None or relid is None:
        return index
    return replace(index, holder=read_lock_holder(connection, relid))


def _with_work(connection: Connection, indexes: Sequence[IndexStatus]) -> tuple[IndexStatus, ...]:
    """The same with the session that works on each: progress, run and start."""
    indexes = [_with_holder(connection, one) for one in indexes]
    pids = [one.observed.builder_pid for one in indexes if one.observed.builder_pid is not None]
    if not pids:
        return tuple(indexes)
    builds = {build.pid: build for build in read_builds(connection, pids)}
    starts = read_session_starts(connection, pids)
    working: list[IndexStatus] = []
    for one in indexes:
        pid = one.observed.builder_pid or 0
        build = builds.get(pid)
        run = None if build is None else run_of(build.application_name)
        working.append(replace(one, progress=build, run=run, since=starts.get(pid)))
    return tuple(working)
