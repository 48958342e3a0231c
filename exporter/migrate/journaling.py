"""What a run as a whole records in the journal; its steps record what becomes of each index."""

from __future__ import annotations

from collections.abc import Sequence

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


def record_plan(journal: Journal, assessment: Assessment) -> None:
    """Record what a run is about to do."""
    journal.append(Phase.PLANNED, EventStatus.IN_PROGRESS, detail=_preflight_detail(assessment.preflight))
    _record_finished_builds(journal, assessment)
    _record_attached_partitions(journal, assessment)
    for index in assessment.observed:
        if index in assessment.plan.settled:
            continue
        journal.append(
            Phase.PREFLIGHT_OK,
            EventStatus.HALTED if index in assessment.plan.refused else EventStatus.DONE,
            index_name=index.declared.name,
            definition=index.definition,
            detail={"state": index.state.value, "found": index.detail},
        )


def _preflight_detail(preflight: Sequence[Finding]) -> dict[str, object]:
    """The findings that did not pass, and the result of the backup command."""
    not_passed = [
        f"{finding.verdict.value}: {finding.subject}, {finding.criterion}: {finding.found}"
        for finding in preflight
        if finding.verdict is not Verdict.PASS
    ]
    commands = [dict(finding.facts) for finding in preflight if finding.criterion == BACKUP]
    return {"preflight": not_passed, "backup": next(filter(None, commands), None)}


def _record_finished_builds(journal: Journal, assessment: Assessment) -> None:
    """Record builds that succeeded in the server after their run had died.

    Only where ANALYZE is still planned: a later event would make the table owe another one.
    """
    analyzed = {step.table for step in assessment.plan.steps if step.kind is StepKind.ANALYZE}
    created = journal.created()
    for index in assessment.plan.settled:
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
                    "message": f"the build that run {entry.run} started ended in the server",
                },
            )


def _record_attached_partitions(journal: Journal, assessment: Assessment) -> None:
    """Record indexes of partitions that were attached in the server after their run had died."""
    for partition in (partition for index in assessment.observed for partition in index.partitions):
        row = assessment.log.get(partition.index.name)
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


def record_definitions(journal: Journal, assessment: Assessment) -> None:
    """Record the canonical definitions that the journal lacks; the exporter compares with them."""
    journal.ensure()
    _record_attached_partitions(journal, assessment)
    for index in assessment.observed:
        row = assessment.log.get(index.declared.name)
        if row is None or row.definition != index.definition:
            journal.append(
                Phase.RECONCILED,
                EventStatus.HALTED if index in assessment.plan.refused else EventStatus.DONE,
                index_name=index.declared.name,
                definition=index.definition,
                detail={"state": index.state.value, "found": index.detail},
            )


def lacks_end(assessment: Assessment) -> bool:
    """True when a run has no recorded end although nothing is left to do or to decide."""
    last = assessment.log.get(None)
    return (
        last is not None
        and last.phase not in (Phase.DONE, Phase.DROPPED)
        and not (assessment.plan.steps or assessment.plan.refused)
    )


def record_stop(journal: Journal, phase: Phase, results: Sequence[StepResult]) -> None:
    """Record how the run ended: by the worst status of its steps."""
    statuses = {result.status for result in results}
    worst = next((status for status in _WORST_FIRST if status in statuses), None)
    messages = {result.message for result in results if result.status is worst}
    journal.append(
        Phase.DETACHED if worst is StepStatus.DETACHED else phase,
        EventStatus.DONE if worst is None else _WORST_FIRST[worst],
        detail={"messages": sorted(filter(None, messages))},
    )


def record_end(journal: Journal, outcome: Outcome, *, is_partial: bool = False) -> None:
    """Record the result of each index and of the migration after a completed run.

    A run that was limited to some indexes says to which.
    """
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
    detail = to_detail(outcome.after)
    if is_partial:
        detail["limited_to"] = [facts.observed.declared.name for facts in outcome.facts]
    journal.append(Phase.DONE, EventStatus.FAILED if any_failed else EventStatus.DONE, detail=detail)
