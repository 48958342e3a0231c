"""The change line end to end: reconcile, preflight, plan, build, analyze, verify, as one Outcome.

Each command of the change line is one function here; they print nothing and read no flags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from exporter.errors import SettingsError
from exporter.evidence.baseline import from_detail, to_detail, with_fresh
from exporter.evidence.measure.plans import measure_probes
from exporter.migrate.assessment import (
    Assessment,
    build_times,
    control_session,
    read_continuation,
    read_readiness,
    read_situation,
)
from exporter.migrate.events import Event
from exporter.migrate.execute.executor import Executor
from exporter.migrate.journaling import lacks_last_word, record_end, record_plan, record_stop, remember
from exporter.migrate.observe.facts import read_index_facts
from exporter.migrate.observe.indexes import observe
from exporter.migrate.options import RunOptions
from exporter.migrate.outcome import now, outcome_of, wal_since
from exporter.migrate.verify import verify
from exporter.model import (
    Database,
    IndexState,
    Manifest,
    Outcome,
    Plan,
    ProbeMeasurement,
    Readiness,
    StepKind,
    StepResult,
    StepStatus,
)
from exporter.postgres.fetching import read_facts
from exporter.postgres.journal import EventStatus, Journal, Phase
from exporter.postgres.server.statistics import read_wal_position
from exporter.postgres.target import Connection, address

# A partition that comes while an index is completed is another round; who adds them faster runs init again.
MAX_PARTITION_ROUNDS = 5


def ignore_event(event: Event) -> None:
    """Shows nothing."""


def ignore_stage(text: str) -> None:
    """Tells nobody."""


def initialise(
    database: Database,
    manifest: Manifest,
    options: RunOptions,
    *,
    confirm: Callable[[Assessment], bool] = lambda situation: True,
    on_event: Callable[[Event], None] = ignore_event,
    on_stage: Callable[[str], None] = ignore_stage,
) -> Outcome:
    """What became of every declared index: built, analyzed and verified, or why not.

    `on_stage` is told what is done before and after the steps, which can take a while.
    """
    started_at = now()
    with control_session(database, manifest, options, "init") as (connection, journal):
        situation = read_situation(connection, manifest, journal, options)
        plan, preflight = situation.plan, situation.preflight
        if situation.is_refused:
            return outcome_of("init", database, connection, journal, started_at, plan, preflight=preflight)
        if options.dry_run or (plan.steps and not confirm(situation)):
            outcome = outcome_of("init", database, connection, journal, started_at, plan, preflight=preflight)
            return replace(outcome, dry_run=True)
        before: tuple[ProbeMeasurement, ...] = ()
        wal_bytes: int | None = None
        if plan.steps:
            journal.ensure()
            record_plan(journal, situation)
            before = _baseline(connection, manifest, journal, situation, options, on_stage)
            # After the probes, which write too: hint bits, with checksums whole pages.
            wal_position = read_wal_position(connection)
            executor = Executor(database, journal, options.build, on_event)
            results = executor.run(plan, situation.budget)
            plan, results = _with_new_partitions(
                database, manifest, journal, options, on_event, plan, results
            )
            wal_bytes = wal_since(journal.live_connection(), wal_position)
        else:
            remember(journal, situation)
            before = from_detail(journal.baseline())
            results = ()
        if any(result.status is not StepStatus.DONE for result in results):
            record_stop(journal, Phase.BUILDING, results)
            return outcome_of(
                "init",
                database,
                journal.live_connection(),
                journal,
                started_at,
                plan,
                results=results,
                before=before,
                preflight=preflight,
                estimates=situation.estimates,
                wal_bytes=wal_bytes,
            )
        _tell_probes(manifest, options, on_stage, "now")
        outcome = _verified("init", database, manifest, options, started_at, journal, before)
        outcome = replace(
            outcome,
            plan=plan,
            results=results,
            preflight=preflight,
            estimates=situation.estimates,
            wal_bytes=wal_bytes,
        )
        # A run that died after its last step, too, is given its last word.
        if plan.steps or lacks_last_word(situation):
            record_end(journal, outcome)
        return outcome


def check_readiness(database: Database, manifest: Manifest, options: RunOptions) -> Readiness:
    """What must hold before init builds, all that can be seen at once. Changes nothing."""
    checked_at = now()
    with control_session(database, manifest, options, "preflight") as (connection, journal):
        return Readiness(
            manifest.migration,
            database.datname,
            address(database),
            read_facts(connection).server_version,
            checked_at,
            read_readiness(connection, manifest, journal, options),
        )


def check_result(database: Database, manifest: Manifest, options: RunOptions) -> Outcome:
    """The success criteria one by one, without changing anything."""
    started_at = now()
    with control_session(database, manifest, options, "verify") as (_, journal):
        before = from_detail(journal.baseline()) if journal.exists() else ()
        return _verified("verify", database, manifest, options, started_at, journal, before)


def _with_new_partitions(
    database: Database,
    manifest: Manifest,
    journal: Journal,
    options: RunOptions,
    on_event: Callable[[Event], None],
    plan: Plan,
    results: tuple[StepResult, ...],
) -> tuple[Plan, tuple[StepResult, ...]]:
    """Plan and results, continued for partitions that came meanwhile, until there is nothing left to do."""
    for _ in range(MAX_PARTITION_ROUNDS):
        is_done = all(result.status is StepStatus.DONE for result in results)
        if not is_done or not any(step.parent is not None for step in plan.steps):
            break
        situation = read_continuation(journal.live_connection(), manifest, journal, options)
        again = situation.plan
        # Before PostgreSQL 15 an ANALYZE shows late: one alone is not worth a round.
        if all(step.kind is StepKind.ANALYZE for step in again.steps):
            break
        results += Executor(database, journal, options.build, on_event).run(again, situation.budget)
        plan = replace(plan, steps=plan.steps + again.steps)
    return plan, results


def _baseline(
    connection: Connection,
    manifest: Manifest,
    journal: Journal,
    situation: Assessment,
    options: RunOptions,
    on_stage: Callable[[str], None],
) -> tuple[ProbeMeasurement, ...]:
    """The probes' figures before their index was built; a later run compares with the same.

    Of a build that was begun before, the figures of then stay; one that was rolled back has new ones.
    """
    kept = from_detail(journal.baseline())
    is_kept = {(one.index_name, one.probe) for one in kept}
    begun = journal.created()
    lacking = tuple(
        observed.declared
        for observed in situation.observed
        if observed.state not in (IndexState.PRESENT, IndexState.COVERED)
        and observed not in situation.plan.refused
        and not (
            observed.declared.name in begun
            and is_kept.issuperset((observed.declared.name, probe.name) for probe in observed.declared.probes)
        )
    )
    unmeasured = replace(manifest, indexes=lacking)
    if not any(index.probes for index in lacking):
        return kept
    _tell_probes(unmeasured, options, on_stage, "before the build")
    fresh = measure_probes(connection, unmeasured, budget_seconds_per_probe=options.probe_budget_seconds)
    before = with_fresh(kept, fresh)
    journal.append(Phase.BASELINE, EventStatus.DONE, detail=to_detail(before))
    return before


def _tell_probes(manifest: Manifest, options: RunOptions, on_stage: Callable[[str], None], when: str) -> None:
    count = sum(len(index.probes) for index in manifest.indexes)
    if count:
        probes = "1 probe" if count == 1 else f"{count} probes"
        on_stage(f"measuring {probes} {when}, each for {options.probe_budget_seconds:g} s at most")


def _verified(
    command: str,
    database: Database,
    manifest: Manifest,
    options: RunOptions,
    started_at: datetime,
    journal: Journal,
    before: tuple[ProbeMeasurement, ...],
) -> Outcome:
    connection = journal.live_connection()
    facts = read_facts(connection)
    created = journal.created() if journal.exists() else {}
    observed = observe(connection, manifest, created)
    after = measure_probes(
        connection,
        manifest,
        budget_seconds_per_probe=options.probe_budget_seconds,
        covered_by={
            index.declared.name: index.covered_by for index in observed if index.covered_by is not None
        },
    )
    index_facts = read_index_facts(connection, facts, observed, budget_seconds=options.probe_budget_seconds)
    return replace(
        outcome_of(
            command,
            database,
            connection,
            journal,
            started_at,
            Plan(manifest.migration, (), observed, ()),
            findings=verify(index_facts, before, after, built_at=build_times(created)),
        ),
        facts=index_facts,
        before=before,
        after=after,
    )


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
        hint="bind one with --manifest FILE, or name one with --migration NAME",
    )
