"""The checks in their order: what is read from the server, and which family judges it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.migrate.observe.table_kinds import why_not_analyzed, why_unfit
from exporter.migrate.options import PreflightOptions
from exporter.migrate.plan.disk_budget import DiskBudget
from exporter.migrate.preflight.activity import check_blockers, check_running_backups
from exporter.migrate.preflight.backup import check_backup
from exporter.migrate.preflight.builds import Estimated, check_duplicates, estimate_builds
from exporter.migrate.preflight.disk.check import budget_of, check_disk
from exporter.migrate.preflight.disk.free_space import find_free_space
from exporter.migrate.preflight.limits import check_duration, check_temporary_files
from exporter.migrate.preflight.replication import check_archiving, check_lag, check_slots
from exporter.migrate.preflight.session import check_session
from exporter.migrate.preflight.tables import (
    check_analyzed,
    check_analyzed_kind,
    check_built_on,
    check_kind,
    check_leftovers,
    check_partition,
    check_table_age,
    check_tablespaces,
    check_wraparound,
)
from exporter.model import (
    DeclaredIndex,
    Finding,
    IndexEstimate,
    Manifest,
    RelationName,
    Verdict,
    quote_identifier,
)
from exporter.postgres.builds.progress import read_builds
from exporter.postgres.fetching import read_facts
from exporter.postgres.relations.partitions import read_partitions
from exporter.postgres.relations.tables import TableFacts, read_table_indexes, read_tables
from exporter.postgres.server.replication import (
    read_archiver,
    read_replication_lag,
    read_running_backups,
    read_slots,
)
from exporter.postgres.server.session_facts import pooling_evidence, read_session_facts
from exporter.postgres.server.storage import (
    StorageFacts,
    TableAge,
    TablespaceFacts,
    read_storage,
    read_table_ages,
    read_tablespaces,
    read_wraparound,
)
from exporter.postgres.sessions.blockers import read_blockers
from exporter.postgres.target import Connection


def check_before_build(
    connection: Connection, manifest: Manifest, options: PreflightOptions | None = None
) -> tuple[Finding, ...]:
    """Findings about server, session, rights and every declared table."""
    options = options or PreflightOptions()
    session = read_session_facts(connection)
    evidence = pooling_evidence(connection)
    findings = list(
        check_session(session, evidence, connection.info.dbname, needs_signal=options.needs_signal)
    )
    tables = _read_declared_tables(connection, manifest)
    findings += _check_kinds(manifest, tables)
    if session.is_monitor:
        # Every right that it lacks is meant to be lacking.
        return tuple(findings)
    usename = quote_identifier(session.usename)
    findings += _check_tables(connection, manifest, tables, usename)
    storage = read_storage(connection)
    tablespaces = _read_tablespaces(connection, manifest.indexes, storage)
    findings += check_tablespaces(manifest.indexes, tablespaces, storage, usename)
    return tuple(findings)


def check_kinds(connection: Connection, manifest: Manifest) -> tuple[Finding, ...]:
    """One finding for each table that is to have an index, and for each that cannot be analyzed."""
    return tuple(_check_kinds(manifest, _read_declared_tables(connection, manifest)))


def _read_declared_tables(connection: Connection, manifest: Manifest) -> dict[RelationName, TableFacts]:
    names = [index.table for index in manifest.indexes]
    return read_tables(connection, (*names, *manifest.analyze))


def _check_kinds(manifest: Manifest, tables: Mapping[RelationName, TableFacts]) -> Iterator[Finding]:
    declared_on = dict.fromkeys(index.table for index in manifest.indexes)
    for table in declared_on:
        yield check_kind(table, tables.get(table))
    for table in dict.fromkeys(manifest.analyze):
        kind = check_analyzed_kind(table, tables.get(table))
        if table not in declared_on and kind.verdict is Verdict.FAIL:
            yield kind


def _check_tables(
    connection: Connection, manifest: Manifest, tables: Mapping[RelationName, TableFacts], usename: str
) -> Iterator[Finding]:
    """The role's rights on the tables that can have an index or be analyzed."""
    declared_on = {index.table for index in manifest.indexes}
    for table, facts in tables.items():
        if table in declared_on and why_unfit(table, facts) is None:
            yield from check_built_on(table, facts, usename)
            if facts.relkind == "p":
                for partition in read_partitions(connection, facts.relid):
                    yield from check_partition(partition, usename)
        elif table not in declared_on and why_not_analyzed(table, facts) is None:
            yield check_analyzed(table, facts, usename)


@dataclass(frozen=True, slots=True)
class PlanEstimate:
    """What the builds of a plan take, how much they may take at a time, and the findings about both."""

    estimates: tuple[IndexEstimate, ...] = ()
    budget: DiskBudget = field(default_factory=DiskBudget)
    findings: tuple[Finding, ...] = ()


def estimate_plan(
    connection: Connection, builds: Sequence[DeclaredIndex], options: PreflightOptions
) -> PlanEstimate:
    """Space and time that these builds take, compared with what is available.

    Raises: psycopg.Error when the connection breaks.
    """
    return _Builds.read(connection, builds, options).plan_estimate() if builds else PlanEstimate()


def check_plan(
    connection: Connection,
    manifest: Manifest,
    builds: Sequence[DeclaredIndex],
    options: PreflightOptions,
) -> PlanEstimate:
    """The same, with findings about rows, locks, WAL, backups and wraparound; none without builds.

    Raises: psycopg.Error when the connection breaks.
    """
    if not builds:
        return PlanEstimate()
    inputs = _Builds.read(connection, builds, options)
    estimate = inputs.plan_estimate()
    return replace(estimate, findings=(*estimate.findings, *_check_plan(connection, manifest, inputs)))


@dataclass(frozen=True, slots=True)
class _Builds:
    """What was read of the builds, their tables and the server's storage."""

    connection: Connection
    builds: Sequence[DeclaredIndex]
    options: PreflightOptions
    storage: StorageFacts
    tables: Mapping[RelationName, TableFacts]
    ages: Mapping[int, TableAge]
    estimated: Estimated

    @classmethod
    def read(
        cls, connection: Connection, builds: Sequence[DeclaredIndex], options: PreflightOptions
    ) -> _Builds:
        storage = read_storage(connection)
        tables = read_tables(connection, (index.table for index in builds))
        ages = read_table_ages(connection, [facts.relid for facts in tables.values()])
        by_index = {
            index: ages[tables[index.table].relid]
            for index in builds
            if index.table in tables and tables[index.table].relid in ages
        }
        estimated = estimate_builds(connection, builds, by_index, storage, options)
        return cls(connection, builds, options, storage, tables, ages, estimated)

    def plan_estimate(self) -> PlanEstimate:
        estimates, findings = self.estimated.estimates, list(self.estimated.findings)
        tablespaces = _read_tablespaces(self.connection, self.builds, self.storage)
        identifier = read_facts(self.connection).system_identifier
        spaces = find_free_space(estimates, self.storage, tablespaces, identifier, self.options)
        if estimates:
            findings += check_disk(estimates, self.storage, spaces, self.options)
            findings += check_temporary_files(estimates, self.storage)
            findings += check_duration(estimates, self.options.deadline_seconds)
        budget = budget_of(estimates, self.storage, spaces, self.options)
        return PlanEstimate(estimates, budget, tuple(findings))


def _check_plan(connection: Connection, manifest: Manifest, inputs: _Builds) -> Iterator[Finding]:
    options, builds, tables = inputs.options, inputs.builds, inputs.tables
    estimates = inputs.estimated.estimates
    yield from check_duplicates(connection, builds, inputs.estimated.shapes, options)
    wal_bytes = sum(one.wal_bytes for one in estimates) if len(estimates) == len(builds) else None
    yield from check_slots(read_slots(connection), wal_bytes, inputs.storage.max_slot_wal_keep_size_bytes)
    yield check_archiving(read_archiver(connection))
    yield from check_lag(read_replication_lag(connection), options)
    yield check_backup(connection.info, options.backup or manifest.backup, runs=options.runs_backup_command)
    yield from check_running_backups(read_running_backups(connection))
    relids = {facts.relid: table for table, facts in tables.items()}
    yield from check_blockers(read_blockers(connection, relids), relids, options.blocker_age_seconds)
    yield check_wraparound(read_wraparound(connection), options.warn_age_share)
    declared = {index.name for index in (*manifest.indexes, *builds)}
    building = {one.index_relid for one in read_builds(connection) if one.index_relid is not None}
    for table, facts in tables.items():
        yield check_table_age(table, inputs.ages.get(facts.relid), options.warn_age_share)
        yield check_leftovers(table, read_table_indexes(connection, facts.relid), declared, building)


def _read_tablespaces(
    connection: Connection, indexes: Sequence[DeclaredIndex], storage: StorageFacts
) -> dict[str, TablespaceFacts]:
    names = {index.tablespace for index in indexes if index.tablespace is not None}
    names |= {storage.default_tablespace, *storage.temporary_tablespaces}
    return read_tablespaces(connection, sorted(names - {""}))
