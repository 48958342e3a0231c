"""Whether every partition of a partitioned table has the index: a finding for each without it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.migrate.verify.findings import failed, partition_subject, passed, subject_of, unknown
from exporter.model import Finding, IndexState, ObservedIndex, ObservedPartition

_CRITERION = "partitions"
_INIT = "run init to complete it"
_ADOPT = "run init --adopt-invalid to replace it"
_WAIT = "rerun verify when that has ended"
_REASONS = {
    IndexState.ABSENT: ("absent", "it has no such index", _INIT),
    IndexState.INVALID_OURS: ("invalid", "", _INIT),
    IndexState.DEGRADED: ("invalid", "", _INIT),
    IndexState.INVALID_FOREIGN: ("invalid", "", _ADOPT),
    IndexState.CONFLICT: ("conflict", "", "repair, rename or drop the relation of that name"),
}
_AT_WORK = {
    IndexState.BUILDING_OURS: "being_built",
    IndexState.BUILDING_FOREIGN: "being_built",
    IndexState.DROPPING_OURS: "being_dropped",
}


def lacking(observed: ObservedIndex) -> Sequence[ObservedPartition]:
    """The partitions with rows of their own that lack the index, or have it INVALID or not attached."""
    return [one for one in _leaves(observed) if not _is_settled(one)]


def judge_partitions(observed: ObservedIndex) -> Iterator[Finding]:
    """One finding for each partition that lacks the index, or one if none does."""
    leaves, without = _leaves(observed), lacking(observed)
    if leaves and not without:
        found = f"all {len(leaves)} partitions have it, valid and attached"
        yield passed(_CRITERION, subject_of(observed.declared), "complete", found)
    for one in without:
        yield _judge(observed, one)


def _judge(root: ObservedIndex, one: ObservedPartition) -> Finding:
    subject = partition_subject(root.declared, one.observed.declared.table)
    name, state = one.index.relation.quoted, one.observed.state
    if state in _AT_WORK:
        return unknown(_CRITERION, subject, _AT_WORK[state], f"{name}: {one.observed.detail}", _WAIT)
    if state in _REASONS:
        reason, found, hint = _REASONS[state]
        return failed(_CRITERION, subject, reason, f"{name}: {found or one.observed.detail}", hint)
    return failed(_CRITERION, subject, "not_attached", f"{name} is valid but not attached", _INIT)


def _leaves(observed: ObservedIndex) -> Sequence[ObservedPartition]:
    return [one for one in observed.partitions if not one.observed.is_partitioned]


def _is_settled(one: ObservedPartition) -> bool:
    return one.is_attached and one.observed.state is IndexState.PRESENT
