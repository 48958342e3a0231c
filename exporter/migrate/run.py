"""The change line end to end: reconcile, preflight, plan, build, analyze, verify, as one Outcome.

Each command of the change line is one function here; they print nothing and read no flags.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from exporter.errors import SettingsError
from exporter.evidence.baseline import from_detail, to_detail
from exporter.evidence.plans import measure_probes
from exporter.migrate.build import Build, BuildOptions, Event
from exporter.migrate.facts import read_index_facts
from exporter.migrate.plan import plan_build, plan_rollback
from exporter.migrate.preflight import check_before_build
from exporter.migrate.reconcile import observe
from exporter.migrate.verify import verify
from exporter.model import (
    Database,
    Finding,
    Manifest,
    ObservedIndex,
    Outcome,
    Plan,
    ProbeMeasurement,
    RelationName,
    ServerFacts,
    StepStatus,
    Verdict,
)
from exporter.postgres.catalog import read_table
from exporter.postgres.journal import EventStatus, Journal, LogRow, Phase
from exporter.postgres.target import (
    APPLICATION_NAME,
    Connection,
    SessionLimits,
    address,
    connect,
    mapped_errors,
    read_facts,
)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a command of the change line runs. Units: seconds."""

    journal_schema: str = "public"
    adopt_invalid: bool = False
    dry_run: bool = False
    connect_timeout_seconds: float = 10.0
    probe_budget_seconds: float = 15.0
    build: BuildOptions = field(default_factory=BuildOptions)


@dataclass(frozen=True, slots=True)
class Situation:
    """What one look at the database showed, before anything is done."""

    facts: ServerFacts
    observed: tuple[ObservedIndex, ...]
    preflight: tuple[Finding, ...]
    plan: Plan
    log: Mapping[str | None, LogRow]


def ignore_event(event: Event) -> None:
    """Shows nothing."""


def new_run() -> str:
    """A short name for one run, unique enough to tell runs apart in the journal and in session names."""
    return secrets.token_hex(4)


def look(database: Database, manifest: Manifest, options: RunOptions) -> Situation:
    """Where the migration stands and what init would do. Changes nothing."""
    with _session(database, manifest, options, "look") as (connection, journal):
        preflight = check_before_build(connection, manifest)
        if any(finding.verdict is Verdict.FAIL for finding in preflight):
            empty = Plan(manifest.migration, (), (), ())
            return Situation(read_facts(connection), (), preflight, empty, {})
        return _situation(connection, manifest, journal, preflight, options)


def initialise(
    database: Database,
    manifest: Manifest,
    options: RunOptions,
    *,
    confirm: Callable[[Situation], bool] = lambda situation: True,
    on_event: Callable[[Event], None] = ignore_event,
) -> Outcome:
    """What became of every declared index: built, analyzed and verified, or why not."""
    started_at = _now()
    with _session(database, manifest, options, "init") as (connection, journal):
        preflight = check_before_build(connection, manifest)
        if any(finding.verdict is Verdict.FAIL for finding in preflight):
            refused = Plan(manifest.migration, (), (), ())
            return _outcome(
                "init", database, connection, journal, started_at, refused, findings=preflight
            )
        situation = _situation(connection, manifest, journal, preflight, options)
        plan = situation.plan
        if options.dry_run or (plan.steps and not confirm(situation)):
            return replace(
                _outcome("init", database, connection, journal, started_at, plan), dry_run=True
            )
        before: tuple[ProbeMeasurement, ...] = ()
        if plan.steps:
            journal.ensure()
            _record_plan(journal, situation)
            before = _baseline(connection, manifest, journal, options)
            build = Build(database, journal, options.build, on_event)
            results = build.run(plan)
        else:
            before = from_detail(journal.baseline()) if journal.exists() else ()
            results = ()
        if any(result.status is not StepStatus.DONE for result in results):
            return _outcome(
                "init",
                database,
                connection,
                journal,
                started_at,
                plan,
                results=results,
                before=before,
            )
        outcome = _verified("init", database, manifest, options, started_at, journal, before)
        outcome = replace(outcome, plan=plan, results=results)
        if plan.steps:
            _record_end(journal, outcome)
        return outcome


def check_result(database: Database, manifest: Manifest, options: RunOptions) -> Outcome:
    """The success criteria one by one, without changing anything."""
    started_at = _now()
    with _session(database, manifest, options, "verify") as (_, journal):
        before = from_detail(journal.baseline()) if journal.exists() else ()
        return _verified("verify", database, manifest, options, started_at, journal, before)


def roll_back(
    database: Database,
    manifest: Manifest,
    options: RunOptions,
    *,
    confirm: Callable[[Situation], bool] = lambda situation: True,
    on_event: Callable[[Event], None] = ignore_event,
) -> Outcome:
    """What became of every index that this migration created: dropped and verified absent, or why not."""
    started_at = _now()
    with _session(database, manifest, options, "rollback") as (connection, journal):
        if not journal.exists():
            raise SettingsError(
                f"no journal in schema {options.journal_schema}: nothing is known to be created here",
                mend="name the schema that init used: --journal-schema",
            )
        created = journal.created()
        observed = observe(connection, manifest, created)
        ours = {
            index.declared.name
            for index in observed
            if index.declared.name in created
            and created[index.declared.name].definition == index.definition
        }
        plan = plan_rollback(manifest, observed, ours)
        situation = Situation(read_facts(connection), observed, (), plan, journal.latest())
        if options.dry_run or (plan.steps and not confirm(situation)):
            return replace(
                _outcome("rollback", database, connection, journal, started_at, plan), dry_run=True
            )
        results = Build(database, journal, options.build, on_event).run(plan) if plan.steps else ()
        after = observe(connection, manifest, created)
        return _outcome(
            "rollback",
            database,
            connection,
            journal,
            started_at,
            plan,
            results=results,
            findings=_absence(plan, after),
        )


def _situation(
    connection: Connection,
    manifest: Manifest,
    journal: Journal,
    preflight: tuple[Finding, ...],
    options: RunOptions,
) -> Situation:
    has_journal = journal.exists()
    created = journal.created() if has_journal else {}
    observed = observe(connection, manifest, created)
    built_at = {
        name: entry.at for name, entry in created.items() if entry.phase == Phase.CATALOG_OK
    }
    plan = plan_build(
        manifest,
        observed,
        owing_analyze=_tables_owing_analyze(connection, manifest, built_at),
        table_sizes=_table_sizes(connection, manifest),
        adopt_invalid=options.adopt_invalid,
    )
    log = journal.latest() if has_journal else {}
    return Situation(read_facts(connection), observed, preflight, plan, log)


def _tables_owing_analyze(
    connection: Connection, manifest: Manifest, built_at: Mapping[str, datetime]
) -> tuple[RelationName, ...]:
    if not built_at:
        return ()
    newest: dict[RelationName, float] = {}
    for index in manifest.indexes:
        if index.name in built_at:
            at = built_at[index.name].timestamp()
            newest[index.table] = max(at, newest.get(index.table, at))
    declared_on = {index.table for index in manifest.indexes}
    for table in manifest.analyze:
        if table not in declared_on and newest:
            newest[table] = max(newest.values())
    owing = []
    for table, built in newest.items():
        facts = read_table(connection, table)
        if facts is not None and (facts.last_analyze is None or facts.last_analyze < built):
            owing.append(table)
    return tuple(owing)


def _table_sizes(connection: Connection, manifest: Manifest) -> dict[RelationName, float]:
    sizes: dict[RelationName, float] = {}
    for table in {index.table for index in manifest.indexes}:
        facts = read_table(connection, table)
        sizes[table] = float(facts.relpages) if facts is not None else 0.0
    return sizes


def _record_plan(journal: Journal, situation: Situation) -> None:
    journal.append(Phase.PLANNED, EventStatus.IN_PROGRESS)
    for index in situation.observed:
        if index in situation.plan.settled:
            continue
        journal.append(
            Phase.PREFLIGHT_OK,
            EventStatus.HALTED if index in situation.plan.refused else EventStatus.DONE,
            index_name=index.declared.name,
            definition=index.definition,
            detail={"state": index.state.value, "found": index.detail},
        )


def _baseline(
    connection: Connection, manifest: Manifest, journal: Journal, options: RunOptions
) -> tuple[ProbeMeasurement, ...]:
    """The probes' figures before the first build; a later run compares with the same."""
    kept = from_detail(journal.baseline())
    if kept:
        return kept
    before = measure_probes(
        connection, manifest, budget_seconds_per_probe=options.probe_budget_seconds
    )
    journal.append(Phase.BASELINE, EventStatus.DONE, detail=to_detail(before))
    return before


def _verified(
    command: str,
    database: Database,
    manifest: Manifest,
    options: RunOptions,
    started_at: datetime,
    journal: Journal,
    before: tuple[ProbeMeasurement, ...],
) -> Outcome:
    connection = journal.connection
    facts = read_facts(connection)
    observed = observe(connection, manifest, journal.created() if journal.exists() else {})
    after = measure_probes(
        connection, manifest, budget_seconds_per_probe=options.probe_budget_seconds
    )
    index_facts = read_index_facts(
        connection, facts, observed, budget_seconds=options.probe_budget_seconds
    )
    return replace(
        _outcome(
            command,
            database,
            connection,
            journal,
            started_at,
            Plan(manifest.migration, (), observed, ()),
            findings=verify(index_facts, before, after),
        ),
        facts=index_facts,
        before=before,
        after=after,
    )


def _record_end(journal: Journal, outcome: Outcome) -> None:
    failed = {
        finding.subject for finding in outcome.findings if finding.verdict is Verdict.FAIL
    }
    for facts in outcome.facts:
        index = facts.observed
        journal.append(
            Phase.DONE,
            EventStatus.FAILED if failed else EventStatus.DONE,
            index_name=index.declared.name,
            definition=index.definition,
            detail={"size_bytes": facts.size_bytes, "findings_failed": sorted(failed)},
        )
    journal.append(
        Phase.DONE,
        EventStatus.FAILED if failed else EventStatus.DONE,
        detail=to_detail(outcome.after),
    )


def _absence(plan: Plan, after: Sequence[ObservedIndex]) -> tuple[Finding, ...]:
    dropped = {step.index.name for step in plan.steps if step.index is not None}
    findings = []
    for index in after:
        if index.declared.name not in dropped:
            continue
        gone = index.indexrelid is None or index.covered_by is not None
        findings.append(
            Finding(
                "absent",
                index.declared.relation.quoted,
                Verdict.PASS if gone else Verdict.FAIL,
                "ok" if gone else "still_there",
                "no index bears the name" if gone else index.detail,
                None if gone else "see the steps above, then run rollback again",
            )
        )
    return tuple(findings)


def _outcome(
    command: str,
    database: Database,
    connection: Connection,
    journal: Journal,
    started_at: datetime,
    plan: Plan,
    **parts: object,
) -> Outcome:
    outcome = Outcome(
        command,
        journal.run,
        plan.migration,
        database.datname,
        address(database),
        read_facts(connection).server_version,
        started_at,
        _now(),
        plan,
    )
    return replace(outcome, **parts)  # type: ignore[arg-type]  # the parts are fields of Outcome


@contextmanager
def _session(
    database: Database, manifest: Manifest, options: RunOptions, purpose: str
) -> Iterator[tuple[Connection, Journal]]:
    """The CONTROL session with the journal over it; psycopg's errors leave as ours."""
    run = new_run()
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
        yield connection, Journal(connection, options.journal_schema, manifest.migration, run)


def _now() -> datetime:
    return datetime.now(UTC)


def only_manifest(manifests: Sequence[Manifest], migration: str | None) -> Manifest:
    """The manifest to work on: the only one, or the one of that migration.

    Raises: SettingsError when that is not exactly one.
    """
    found = [one for one in manifests if migration in (None, one.migration)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.migration for one in manifests) or "none"
    raise SettingsError(
        f"which migration? bound to this database: {names}",
        mend="bind one with --manifest FILE, or name one with --migration NAME",
    )


__all__ = [
    "RunOptions",
    "Situation",
    "check_result",
    "initialise",
    "look",
    "only_manifest",
    "roll_back",
]
