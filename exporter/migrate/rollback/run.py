"""Drops what a migration created, and only that: known by the journal, schema, name and definition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from exporter.errors import SettingsError
from exporter.migrate.assessment import Assessment, control_session
from exporter.migrate.events import Event
from exporter.migrate.execute.executor import Executor
from exporter.migrate.journaling import record_stop
from exporter.migrate.observe.indexes import observe
from exporter.migrate.options import RunOptions
from exporter.migrate.outcome import now, outcome_of, wal_since
from exporter.migrate.plan.partitions import with_partitions
from exporter.migrate.plan.steps import plan_rollback
from exporter.migrate.preflight import check_before_build
from exporter.migrate.rollback.checks import check_before_drop
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
from exporter.postgres.server.statistics import read_wal_position
from exporter.postgres.target import Connection

# Of what must hold before a build, what a drop and the ANALYZE after it need as well.
_CRITERIA = {
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
    confirm: Callable[[Assessment], bool] = lambda situation: True,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """What became of every index that this migration created: dropped and verified absent, or why not.

    `siblings` are databases of the settings that may be the same one on a standby.
    Raises: SettingsError when there is no journal; ManifestError when a declaration does not fit.
    """
    started_at = now()
    with control_session(database, manifest, options, "rollback") as (connection, journal):
        situation = read_rollback(connection, manifest, journal, siblings)
        outcome = outcome_of("rollback", database, connection, journal, started_at, situation.plan)
        outcome = replace(outcome, preflight=situation.preflight)
        if situation.is_refused:
            return replace(outcome, plan=replace(situation.plan, steps=()), finished_at=now())
        if options.dry_run or (situation.plan.steps and not confirm(situation)):
            return replace(outcome, dry_run=True, finished_at=now())
        if not situation.plan.steps:
            if _lacks_last_word(journal, situation):
                record_stop(journal, Phase.DROPPED, ())
            return replace(outcome, finished_at=now())
        wal_position = read_wal_position(connection)
        results = Executor(database, journal, options.build, on_event).run(situation.plan)
        if all(result.status is StepStatus.DONE for result in results):
            _record_unseen(journal, situation)
        record_stop(journal, Phase.DROPPED, results)
        wal_bytes = wal_since(journal.live_connection(), wal_position)
        after = observe(journal.connection, manifest, journal.created())
        findings = tuple(_absence(situation.plan, after))
        return replace(outcome, results=results, findings=findings, wal_bytes=wal_bytes, finished_at=now())


def read_rollback(
    connection: Connection, manifest: Manifest, journal: Journal, siblings: Sequence[Database] = ()
) -> Assessment:
    """What stands, what rollback would drop and what speaks against it. Changes nothing.

    Raises: SettingsError when there is no journal; ManifestError when a declaration does not fit.
    """
    if not journal.exists():
        raise SettingsError(
            f"no journal in schema {journal.schemaname}: nothing is known to be created here",
            hint="name the schema that init used: --journal-schema",
        )
    facts = read_facts(connection)
    checks = tuple(one for one in check_before_build(connection, manifest) if one.criterion in _CRITERIA)
    nothing = Plan(manifest.migration, (), (), ())
    if any(finding.verdict is Verdict.FAIL for finding in checks):
        return Assessment(facts, (), checks, nothing, {})
    created = journal.created()
    observed = observe(connection, manifest, created)
    ours = {index.declared.name for index in with_partitions(observed) if _is_ours(index, created)}
    unseen = {name for name in ours if created[name].is_dropping}
    plan = plan_rollback(
        manifest,
        observed,
        ours,
        dropped_unseen=unseen,
        stood_before=journal.adopted_partitions(),
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
        *_undeclared(manifest, observed, created),
    )
    return Assessment(facts, observed, findings, plan, journal.latest())


def _is_ours(index: ObservedIndex, created: Mapping[str, CreatedIndex]) -> bool:
    """True when the journal's intent and the declaration agree on schema, name and definition."""
    entry = created.get(index.declared.name)
    return entry is not None and entry.definition == index.definition


def _lacks_last_word(journal: Journal, situation: Assessment) -> bool:
    """True when all that the migration created is dropped, by a run that died before it could say so."""
    last = situation.log.get(None)
    was_dropped = any(row.phase == Phase.DROPPED for name, row in situation.log.items() if name is not None)
    return last is not None and last.phase != Phase.DROPPED and was_dropped and not journal.created()


def _record_unseen(journal: Journal, situation: Assessment) -> None:
    """Tells the journal of drops that ended after their run had died.

    The indexes of partitions go with the one above.
    """
    created = journal.created()
    for root in situation.observed:
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
                f"this migration created it, but {manifest.path} does not declare it: it stays "
                f"({entry.definition or 'its definition is not on record'})",
                "declare it again and run rollback, or drop it by hand",
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
            "no index bears the name" if gone else index.detail,
            None if gone else "see the steps above, then run rollback again",
        )
