"""The rollback command: drop what the migration created, by the journal, schema, name and definition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from exporter.errors import SettingsError
from exporter.migrate.assessment import Assessment
from exporter.migrate.events import Event
from exporter.migrate.execute.executor import Executor
from exporter.migrate.journaling import record_stop
from exporter.migrate.observe.indexes import observe_declared
from exporter.migrate.options import RunOptions
from exporter.migrate.plan.partitions import with_partitions
from exporter.migrate.plan.steps import plan_rollback
from exporter.migrate.preflight import check_before_build
from exporter.migrate.preflight.declarations import declaration_findings
from exporter.migrate.preflight.findings import TABLE_KIND
from exporter.migrate.rollback.checks import check_before_drop
from exporter.migrate.run import Run, now, open_run
from exporter.model import (
    Database,
    Finding,
    IndexState,
    Manifest,
    ObservedIndex,
    Outcome,
    Plan,
    StepStatus,
    Verdict,
)
from exporter.postgres.fetching import read_facts
from exporter.postgres.journal import CreatedIndex, EventStatus, Journal, Phase
from exporter.postgres.server.statistics import read_wal_position, wal_bytes_since

# The preflight criteria that a drop and the ANALYZE after it need too.
_CRITERIA = {
    "role",
    TABLE_KIND,
    "primary",
    "writable",
    "direct connection",
    "temporary tables",
    "statistics collector",
    "sees other sessions",
    "may analyze",
}


def roll_back(
    database: Database,
    manifest: Manifest,
    options: RunOptions,
    *,
    siblings: Sequence[Database] = (),
    confirm: Callable[[Assessment], bool] = lambda assessment: True,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """What became of every index that this migration created: dropped and verified absent, or why not.

    `siblings` are databases of the settings that may be the same one on a standby.
    Raises: SettingsError when there is no journal.
    """
    with open_run("rollback", database, manifest, options) as run:
        assessment = read_rollback(run, siblings)
        plan = assessment.plan
        outcome = replace(run.outcome(plan), preflight=assessment.preflight)
        if assessment.is_refused:
            return replace(outcome, plan=replace(plan, steps=()))
        if options.dry_run or (plan.steps and not confirm(assessment)):
            return replace(outcome, dry_run=True, finished_at=now())
        journal = run.journal
        if not plan.steps:
            if _lacks_end(journal, assessment):
                record_stop(journal, Phase.DROPPED, ())
            return outcome
        wal_position = read_wal_position(run.connection)
        results = Executor(database, journal, options.build, on_event).run(plan)
        if all(result.status is StepStatus.DONE for result in results):
            _record_ended_drops(journal, assessment)
        record_stop(journal, Phase.DROPPED, results)
        wal_bytes = wal_bytes_since(journal.live_connection(), wal_position)
        after = observe_declared(run.connection, manifest, journal.created()).indexes
        findings = tuple(_absence(plan, after))
        return replace(outcome, results=results, findings=findings, wal_bytes=wal_bytes, finished_at=now())


def read_rollback(run: Run, siblings: Sequence[Database] = ()) -> Assessment:
    """What exists, what rollback would drop, and what speaks against it. Changes nothing.

    Raises: SettingsError when there is no journal.
    """
    connection, manifest, journal = run.connection, run.manifest, run.journal
    facts = read_facts(connection)
    checks = tuple(one for one in check_before_build(connection, manifest) if one.criterion in _CRITERIA)
    nothing = Plan(manifest.migration, (), (), ())
    if any(finding.verdict is Verdict.FAIL for finding in checks):
        return Assessment(facts, (), checks, nothing, {})
    if not journal.exists():
        raise SettingsError(
            f"there is no journal in schema {journal.schemaname}: no created index is known",
            hint="name the schema that init used: --journal-schema",
        )
    created = journal.created()
    observation = observe_declared(connection, manifest, created)
    if observation.faults:
        refused = declaration_findings(observation.faults)
        return Assessment(facts, observation.indexes, (*checks, *refused), nothing, {})
    observed = observation.indexes
    ours = {index.declared.name for index in with_partitions(observed) if _is_ours(index, created)}
    dropping = {name for name in ours if created[name].is_dropping}
    plan = plan_rollback(
        manifest,
        observed,
        ours,
        dropping=dropping,
        attached_only=journal.adopted_partitions(),
        leftovers=journal.leftovers(),
    )
    dropped = {step.index.name for step in plan.steps if step.index is not None}
    findings = (
        *(checks if plan.steps else ()),
        *check_before_drop(
            connection,
            [index for index in with_partitions(observed) if index.declared.name in dropped],
            created,
            siblings,
        ),
        *(() if manifest.is_partial else _undeclared(manifest, observed, created)),
    )
    return Assessment(facts, observed, findings, plan, journal.latest())


def _is_ours(index: ObservedIndex, created: Mapping[str, CreatedIndex]) -> bool:
    """True when the journal's intent and the declaration agree on schema, name and definition."""
    entry = created.get(index.declared.name)
    return entry is not None and entry.definition == index.definition


def _lacks_end(journal: Journal, assessment: Assessment) -> bool:
    """True when everything created is dropped, by a run that died before it recorded its end."""
    last = assessment.log.get(None)
    was_dropped = any(row.phase == Phase.DROPPED for name, row in assessment.log.items() if name is not None)
    return last is not None and last.phase != Phase.DROPPED and was_dropped and not journal.created()


def _record_ended_drops(journal: Journal, assessment: Assessment) -> None:
    """Record drops that ended in the server after their run had died, with the indexes of partitions."""
    created = journal.created()
    for root in assessment.observed:
        of_root = created.get(root.declared.name)
        if root.state is not IndexState.ABSENT or of_root is None or not of_root.is_dropping:
            continue
        for index in with_partitions([root]):
            entry = created.get(index.declared.name)
            if entry is not None and index.state is IndexState.ABSENT:
                journal.append(
                    Phase.DROPPED,
                    EventStatus.DONE,
                    index_name=index.declared.name,
                    definition=index.definition,
                    detail={"state": index.state.value, "run": entry.run},
                )


def _undeclared(
    manifest: Manifest, observed: Sequence[ObservedIndex], created: Mapping[str, CreatedIndex]
) -> Iterator[Finding]:
    declared = {index.name for index in manifest.indexes}
    declared |= {index.declared.name for index in with_partitions(observed)}
    for name, entry in created.items():
        if name not in declared:
            yield Finding(
                "declared",
                name,
                Verdict.WARN,
                "not_declared",
                f"this migration created it, but {manifest.path} does not declare it: it is kept "
                f"({entry.definition or 'definition not recorded'})",
                "declare it again and rerun rollback, or drop it by hand",
            )


def _absence(plan: Plan, after: Sequence[ObservedIndex]) -> Iterator[Finding]:
    dropped = {step.index.name for step in plan.steps if step.index is not None}
    for index in after:
        if index.declared.name not in dropped:
            continue
        gone = index.state in (IndexState.ABSENT, IndexState.COVERED)
        yield Finding(
            "absent",
            index.declared.relation.quoted,
            Verdict.PASS if gone else Verdict.FAIL,
            "ok" if gone else "still_there",
            "there is no index of that name" if gone else index.detail,
            None if gone else "see the failed steps, then rerun rollback",
        )
