"""One look at a database before anything is done: what stands there, and what there is to do."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

import psycopg

from exporter.errors import ExporterError, ManifestError, TargetTimedOut
from exporter.migrate.observe.indexes import observe
from exporter.migrate.options import RunOptions
from exporter.migrate.plan.disk_budget import DiskBudget
from exporter.migrate.plan.partitions import with_partitions
from exporter.migrate.plan.steps import plan_build, tables_owing_analyze
from exporter.migrate.preflight import check_before_build, check_kinds, check_plan, estimate_plan
from exporter.migrate.preflight.declarations import check_declarations, declaration_faults, not_compiled
from exporter.model import (
    Database,
    DeclaredIndex,
    Finding,
    IndexEstimate,
    IndexState,
    Manifest,
    ObservedIndex,
    Plan,
    RelationName,
    ServerFacts,
    StepKind,
    Verdict,
)
from exporter.postgres.fetching import read_facts
from exporter.postgres.journal import CreatedIndex, Journal, LogRow, Phase
from exporter.postgres.relations.tables import TableFacts, read_table
from exporter.postgres.sessions.blockers import read_drop_blockers
from exporter.postgres.target import (
    APPLICATION_NAME,
    Connection,
    SessionLimits,
    address,
    connect,
    mapped_errors,
)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What one look at the database showed, before anything is done."""

    facts: ServerFacts
    observed: tuple[ObservedIndex, ...]
    preflight: tuple[Finding, ...]
    plan: Plan
    log: Mapping[str | None, LogRow]
    estimates: tuple[IndexEstimate, ...] = ()
    budget: DiskBudget = field(default_factory=DiskBudget)

    @property
    def is_refused(self) -> bool:
        """True when the preflight failed, so that nothing may be touched."""
        return any(finding.verdict is Verdict.FAIL for finding in self.preflight)


def look(database: Database, manifest: Manifest, options: RunOptions) -> Assessment:
    """Where the migration stands and what init would do. Changes nothing."""
    with control_session(database, manifest, options, "look") as (connection, journal):
        return read_situation(connection, manifest, journal, options)


def require_passed(situation: Assessment) -> None:
    """Raises: ExporterError with every failed finding of the preflight and its hint."""
    failed = [finding for finding in situation.preflight if finding.verdict is Verdict.FAIL]
    if failed:
        raise ExporterError(
            "init would refuse to start here:",
            hint="\n  -> ".join(f"{one.subject}, {one.criterion}: {one.found}; {one.hint}" for one in failed),
        )


def read_situation(
    connection: Connection, manifest: Manifest, journal: Journal, options: RunOptions
) -> Assessment:
    """What one look shows. Where what needs no plan fails, nothing else is asked, and the plan is empty."""
    preflight = check_before_build(connection, manifest, options.preflight)
    if any(finding.verdict is Verdict.FAIL for finding in preflight):
        return Assessment(read_facts(connection), (), preflight, Plan(manifest.migration, (), (), ()), {})
    planned = read_plan(connection, manifest, journal, options)
    checked = check_plan(connection, manifest, indexes_to_build(planned.plan), options.preflight)
    return replace(
        planned,
        preflight=(*preflight, *check_kinds(connection, manifest), *checked.findings),
        estimates=checked.estimates,
        budget=checked.budget,
    )


def read_continuation(
    connection: Connection, manifest: Manifest, journal: Journal, options: RunOptions
) -> Assessment:
    """What is left to do in the midst of a run, whose preflight was at its beginning."""
    planned = read_plan(connection, manifest, journal, options)
    estimate = estimate_plan(connection, indexes_to_build(planned.plan), options.preflight)
    return replace(planned, estimates=estimate.estimates, budget=estimate.budget)


def read_plan(
    connection: Connection, manifest: Manifest, journal: Journal, options: RunOptions
) -> Assessment:
    """Where the indexes stand and what there is to do, which a role that may not build sees too."""
    has_journal = journal.exists()
    created = journal.created() if has_journal else {}
    observed = observe(connection, manifest, created)
    tables = _read_tables(connection, manifest)
    plan = plan_build(
        manifest,
        observed,
        owing_analyze=tables_owing_analyze(
            manifest,
            _built_at(created, observed),
            {table: facts.last_analyze for table, facts in tables.items()},
        ),
        table_sizes={table: float(facts.relpages) for table, facts in tables.items()},
        adopt_invalid=options.adopt_invalid,
        leftovers=journal.leftovers() if has_journal else (),
    )
    log = journal.latest() if has_journal else {}
    return Assessment(read_facts(connection), observed, (), plan, log)


def read_readiness(
    connection: Connection, manifest: Manifest, journal: Journal, options: RunOptions
) -> tuple[Finding, ...]:
    """Every finding that can be had: where something fails, what does not depend on it is asked nevertheless.

    A declaration that the server refuses is a finding here.
    """
    findings = check_before_build(connection, manifest, options.preflight)
    builds: Sequence[DeclaredIndex] = manifest.indexes
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        findings += (*check_kinds(connection, manifest), not_compiled(manifest))
    else:
        findings += check_kinds(connection, manifest)
        try:
            situation = read_plan(connection, manifest, journal, options)
        except ManifestError as error:
            findings += declaration_faults(error)
        else:
            builds = indexes_to_build(situation.plan)
            findings += check_declarations(situation.observed)
    return findings + check_plan(connection, manifest, builds, options.preflight).findings


def indexes_to_build(plan: Plan) -> tuple[DeclaredIndex, ...]:
    """The indexes that the steps of the plan build."""
    return tuple(step.index for step in plan.steps if step.kind is StepKind.BUILD and step.index is not None)


def _built_at(created: Mapping[str, CreatedIndex], observed: Sequence[ObservedIndex]) -> dict[str, float]:
    """When each present index that the migration built was last known to be built, in epoch seconds.

    A build that its tool did not live to see the end of counts too: its table was not analyzed either. That
    of a partitioned table is built with its last partition.
    """
    return {
        index.declared.name: max(
            created[one.declared.name].at.timestamp()
            for one in with_partitions([index])
            if one.declared.name in created
        )
        for index in observed
        if index.state is IndexState.PRESENT and index.declared.name in created
    }


def _read_tables(connection: Connection, manifest: Manifest) -> dict[RelationName, TableFacts]:
    """Every table that the manifest names and the database has."""
    names = {index.table for index in manifest.indexes} | set(manifest.analyze)
    found = {name: read_table(connection, name) for name in sorted(names)}
    return {name: facts for name, facts in found.items() if facts is not None}


def build_times(created: Mapping[str, CreatedIndex]) -> dict[str, datetime]:
    """When the build of each index ended, by the server's clock; without those that did not end well."""
    return {name: entry.at for name, entry in created.items() if entry.phase == Phase.CATALOG_OK}


@contextmanager
def control_session(
    database: Database, manifest: Manifest, options: RunOptions, purpose: str
) -> Iterator[tuple[Connection, Journal]]:
    """The CONTROL session with the journal over it; psycopg's errors leave as ours."""
    run = secrets.token_hex(4)
    with (
        mapped_errors(database),
        closing(
            connect(
                database,
                application_name=f"{APPLICATION_NAME}-{purpose}/{run}",
                read_only=False,
                limits=SessionLimits(
                    connect_timeout_seconds=options.connect_timeout_seconds,
                    lock_timeout_seconds=10,
                ),
            )
        ) as connection,
    ):
        journal = Journal(connection, options.journal_schema, manifest.migration, run)
        try:
            yield connection, journal
        except psycopg.errors.LockNotAvailable as error:
            raise _locked(journal.connection, database, manifest) from error
        finally:
            # Another than at first, where that was lost.
            journal.connection.close()


def _locked(connection: Connection, database: Database, manifest: Manifest) -> TargetTimedOut:
    """Which table could not be looked at, and who locks it or waits for that; whoever looks queues behind."""
    told: list[str] = []
    with suppress(psycopg.Error):
        for name in sorted({index.table for index in manifest.indexes} | set(manifest.analyze)):
            table = read_table(connection, name)
            blockers = read_drop_blockers(connection, [] if table is None else [table.relid])
            keeping_out = [one.described for one in blockers if one.mode == "AccessExclusiveLock"]
            if keeping_out:
                told.append(f"{name.quoted} by {'; '.join(keeping_out)}")
    # Between the look and the question the lock may have gone, and with it the answer who had it.
    by_whom = f": {', '.join(told)}" if told else ", it is not known by whom"
    return TargetTimedOut(
        f"{address(database)}: a table was locked when it was looked at{by_whom}",
        hint="run it again when nobody locks it",
    )
