"""The state of a migration in one database: what exists, what would be done, and whether it may be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from exporter.migrate.observe.indexes import observe_declared
from exporter.migrate.options import RunOptions
from exporter.migrate.plan.disk_budget import DiskBudget
from exporter.migrate.plan.partitions import with_partitions
from exporter.migrate.plan.steps import plan_build, tables_owing_analyze
from exporter.migrate.preflight import check_before_build, check_plan, estimate_plan
from exporter.migrate.preflight.declarations import declaration_findings
from exporter.migrate.run import Run, open_run
from exporter.model import (
    Database,
    DeclaredIndex,
    Finding,
    IndexEstimate,
    IndexState,
    Manifest,
    ObservedIndex,
    Plan,
    ServerFacts,
    StepKind,
    Verdict,
)
from exporter.postgres.fetching import read_facts
from exporter.postgres.journal import CreatedIndex, LogRow, Phase
from exporter.postgres.relations.tables import read_tables


@dataclass(frozen=True, slots=True)
class Assessment:
    """What exists in the database and what is to be done, read before anything is done.

    `estimates` are of the indexes that the plan builds, as far as they could be estimated.
    """

    facts: ServerFacts
    observed: tuple[ObservedIndex, ...]
    preflight: tuple[Finding, ...]
    plan: Plan
    log: Mapping[str | None, LogRow]
    estimates: tuple[IndexEstimate, ...] = ()
    budget: DiskBudget = field(default_factory=DiskBudget)

    @property
    def is_refused(self) -> bool:
        """True when a preflight check failed, so that nothing may be changed."""
        return any(finding.verdict is Verdict.FAIL for finding in self.preflight)


def assess(database: Database, manifest: Manifest, options: RunOptions) -> Assessment:
    """The state of the migration and what init would do. Changes nothing."""
    with open_run("plan", database, manifest, options) as run:
        return read_assessment(run)


def read_assessment(run: Run) -> Assessment:
    """The assessment before a build. When a check that needs no plan fails, the plan is empty."""
    preflight = check_before_build(run.connection, run.manifest, run.options.preflight)
    if any(finding.verdict is Verdict.FAIL for finding in preflight):
        nothing = Plan(run.manifest.migration, (), (), ())
        return Assessment(read_facts(run.connection), (), preflight, nothing, {})
    planned = read_plan(run)
    if planned.is_refused:
        return replace(planned, preflight=(*preflight, *planned.preflight))
    checked = check_plan(run.connection, run.manifest, indexes_to_build(planned.plan), run.options.preflight)
    return replace(
        planned,
        preflight=(*preflight, *checked.findings),
        estimates=checked.estimates,
        budget=checked.budget,
    )


def read_continuation(run: Run) -> Assessment:
    """What is left to do in the middle of a run, without the checks made at its start."""
    planned = read_plan(run)
    estimate = estimate_plan(run.connection, indexes_to_build(planned.plan), run.options.preflight)
    return replace(planned, estimates=estimate.estimates, budget=estimate.budget)


def read_plan(run: Run) -> Assessment:
    """The state of the indexes and what is to be done; needs no right to build.

    The preflight holds the declarations that the server refuses; the plan is empty then.
    """
    journal, manifest, connection = run.journal, run.manifest, run.connection
    has_journal = journal.exists()
    created = journal.created() if has_journal else {}
    log = journal.latest() if has_journal else {}
    observation = observe_declared(connection, manifest, created)
    if observation.faults:
        refused = declaration_findings(observation.faults)
        nothing = Plan(manifest.migration, (), (), ())
        return Assessment(read_facts(connection), observation.indexes, refused, nothing, log)
    observed = observation.indexes
    names = {index.table for index in manifest.indexes} | set(manifest.analyze)
    tables = read_tables(connection, sorted(names))
    plan = plan_build(
        manifest,
        observed,
        owing_analyze=tables_owing_analyze(
            manifest,
            _built_at_seconds(created, observed),
            {table: facts.last_analyze for table, facts in tables.items()},
        ),
        table_sizes={table: float(facts.relpages) for table, facts in tables.items()},
        adopt_invalid=run.options.adopt_invalid,
        leftovers=journal.leftovers() if has_journal else (),
    )
    return Assessment(read_facts(connection), observed, (), plan, log)


def indexes_to_build(plan: Plan) -> tuple[DeclaredIndex, ...]:
    """The indexes that the steps of the plan build."""
    return tuple(step.index for step in plan.steps if step.kind is StepKind.BUILD and step.index is not None)


def _built_at_seconds(
    created: Mapping[str, CreatedIndex], observed: Sequence[ObservedIndex]
) -> dict[str, float]:
    """When each present index that the migration built was last known to be built. Units: epoch seconds.

    A build whose run died before its end counts too: its table was not analyzed either. The index of a
    partitioned table is built with its last partition.
    """
    return {
        root.declared.name: max(
            created[index.declared.name].at.timestamp()
            for index in with_partitions([root])
            if index.declared.name in created
        )
        for root in observed
        if root.state is IndexState.PRESENT and root.declared.name in created
    }


def build_times(created: Mapping[str, CreatedIndex]) -> dict[str, datetime]:
    """When the build of each index ended, by the server's clock; without failed builds."""
    return {name: entry.at for name, entry in created.items() if entry.phase == Phase.CATALOG_OK}
