"""What a run tells the journal of itself; what becomes of each index is told by its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter.evidence.baseline import to_detail
from exporter.migrate.assessment import Assessment
from exporter.migrate.preflight.backup import BACKUP
from exporter.migrate.verify import concerns
from exporter.model import Finding, IndexState, Outcome, StepKind, StepResult, StepStatus, Verdict
from exporter.postgres.journal import EventStatus, Journal, Phase

_WORST_FIRST = {
    StepStatus.DEGRADED: EventStatus.DEGRADED,
    StepStatus.LEFT_BEHIND: EventStatus.LEFT_BEHIND,
    StepStatus.HALTED: EventStatus.HALTED,
    StepStatus.DETACHED: EventStatus.IN_PROGRESS,
    StepStatus.FAILED: EventStatus.FAILED,
    StepStatus.SKIPPED: EventStatus.FAILED,
}


def record_plan(journal: Journal, situation: Assessment) -> None:
    """Tells the journal what a run is about to do."""
    journal.append(Phase.PLANNED, EventStatus.IN_PROGRESS, detail=_preflight_detail(situation.preflight))
    _record_finished_alone(journal, situation)
    _record_attached_alone(journal, situation)
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


def _preflight_detail(preflight: Sequence[Finding]) -> dict[str, Any]:
    """What did not pass, and what came of the command that proves a backup."""
    wanting = [
        f"{finding.verdict.value}: {finding.subject}, {finding.criterion}: {finding.found}"
        for finding in preflight
        if finding.verdict is not Verdict.PASS
    ]
    commands = [dict(finding.facts) for finding in preflight if finding.criterion == BACKUP]
    return {"preflight": wanting, "backup": next(filter(None, commands), None)}


def _record_finished_alone(journal: Journal, situation: Assessment) -> None:
    """Builds that ended well in the server after their run had died: nobody was there to say so.

    Where ANALYZE is still to follow: the moment of this word would otherwise make it follow once more.
    """
    analyzed = {step.table for step in situation.plan.steps if step.kind is StepKind.ANALYZE}
    created = journal.created()
    for index in situation.plan.settled:
        entry = created.get(index.declared.name)
        if entry is None or entry.phase != Phase.BUILDING or index.state is not IndexState.PRESENT:
            continue
        if index.declared.table in analyzed:
            journal.append(
                Phase.CATALOG_OK,
                EventStatus.DONE,
                index_name=index.declared.name,
                definition=index.definition,
                detail={
                    "state": index.state.value,
                    "indexrelid": index.indexrelid,
                    "message": f"the build that run {entry.run} began ended in the server",
                },
            )


def _record_attached_alone(journal: Journal, situation: Assessment) -> None:
    """Indexes of partitions that were attached in the server after their run had died."""
    for partition in (one for index in situation.observed for one in index.partitions):
        row = situation.log.get(partition.index.name)
        if (
            row is not None
            and (row.phase, row.status) == (Phase.ATTACHED, EventStatus.IN_PROGRESS)
            and partition.is_attached
        ):
            journal.append(
                Phase.ATTACHED,
                EventStatus.DONE,
                index_name=row.index_name,
                definition=row.definition,
                detail=row.detail,
            )


def remember(journal: Journal, situation: Assessment) -> None:
    """Keeps the canonical definitions that the journal lacks, by which the exporter compares."""
    journal.ensure()
    _record_attached_alone(journal, situation)
    for index in situation.observed:
        row = situation.log.get(index.declared.name)
        if row is None or row.definition != index.definition:
            journal.append(
                Phase.RECONCILED,
                EventStatus.HALTED if index in situation.plan.refused else EventStatus.DONE,
                index_name=index.declared.name,
                definition=index.definition,
                detail={"state": index.state.value, "found": index.detail},
            )


def lacks_last_word(situation: Assessment) -> bool:
    """True when a run began and its end is not on record, although nothing is left to do or to decide."""
    last = situation.log.get(None)
    return (
        last is not None
        and last.phase not in (Phase.DONE, Phase.DROPPED)
        and not (situation.plan.steps or situation.plan.refused)
    )


def record_stop(journal: Journal, phase: Phase, results: Sequence[StepResult]) -> None:
    """Tells the journal how the run as a whole ended, by the worst of its steps."""
    statuses = {result.status for result in results}
    worst = next((status for status in _WORST_FIRST if status in statuses), None)
    messages = {result.message for result in results if result.status is worst}
    journal.append(
        Phase.DETACHED if worst is StepStatus.DETACHED else phase,
        EventStatus.DONE if worst is None else _WORST_FIRST[worst],
        detail={"messages": sorted(filter(None, messages))},
    )


def record_end(journal: Journal, outcome: Outcome) -> None:
    """Tells the journal how each index and the migration as a whole were found after a run."""
    any_failed = False
    for facts in outcome.facts:
        index = facts.observed
        failed = [
            finding.criterion
            for finding in outcome.findings
            if finding.verdict is Verdict.FAIL and concerns(finding, index.declared)
        ]
        any_failed = any_failed or bool(failed)
        journal.append(
            Phase.DONE,
            EventStatus.FAILED if failed else EventStatus.DONE,
            index_name=index.declared.name,
            definition=index.definition,
            detail={"size_bytes": facts.size_bytes, "findings_failed": failed},
        )
    journal.append(
        Phase.DONE,
        EventStatus.FAILED if any_failed else EventStatus.DONE,
        detail=to_detail(outcome.after),
    )
