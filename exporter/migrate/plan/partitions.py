"""The index of a partitioned table: what its partitions are to have, and the steps to get there.

PostgreSQL builds no index of a partitioned table concurrently. What it allows is the way taken here: the
index of the table alone, which is INVALID and costs nothing; on each leaf an index of its own, built like
any other; and each attached when it is valid, until the one above is valid too. A partition that is made
after the first step brings its index along.

`plan_partitions` and `plan_partitions_rollback` are pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from exporter.model import (
    DeclaredIndex,
    IndexState,
    ObservedIndex,
    ObservedPartition,
    RelationName,
    Step,
    StepKind,
)
from exporter.parsing.text import MAX_IDENTIFIER_BYTES
from exporter.postgres import ddl

_HASH_CHARACTERS = 8
_STANDING = (IndexState.PRESENT, IndexState.COVERED)
# What a rollback drops where it is this migration's.
DROPPABLE = (
    IndexState.PRESENT,
    IndexState.INVALID_OURS,
    IndexState.DROPPING_OURS,
    IndexState.DEGRADED,
)
_CREATE_PARENT_LOCK = (
    "ShareLock on the partitioned table alone, for a moment: writes through it wait; "
    "waits a second at a time for writers, then lets them pass"
)
_ATTACH_LOCK = (
    "AccessExclusiveLock on the partition's index, ShareUpdateExclusiveLock on the one above, for a moment: "
    "reads of the partition wait; waits a second at a time for readers, then lets them pass"
)
_DROP_PARENT_LOCK = (
    "AccessExclusiveLock on the table and every partition, for a moment: reads and writes wait; "
    "PostgreSQL drops no partitioned index concurrently. Waits a second at a time, then lets others pass"
)


@dataclass(slots=True)
class PartitionSteps:
    """The steps for partitioned tables, by when they may run.

    `parents` come before everything else, `lanes` are those of each leaf table, in order and independent of
    each other, `ends` come after all of these, in order.
    """

    parents: list[Step] = field(default_factory=list)
    lanes: dict[RelationName, list[Step]] = field(default_factory=dict)
    ends: list[Step] = field(default_factory=list)


# Names


def partition_index_name(index: DeclaredIndex, partition: RelationName, taken: Collection[str]) -> str:
    """The name of the index on a partition: both names, or what fits of them with a hash of the whole.

    `taken` are names that it may not have: the journal tells the indexes of one migration by their names.
    """
    plain = f"{index.name}_{partition.relname}"
    is_plain = partition.schemaname == index.table.schemaname and plain not in taken
    if is_plain and len(plain.encode()) <= MAX_IDENTIFIER_BYTES:
        return plain
    whole = "\0".join((index.table.schemaname, index.name, partition.schemaname, partition.relname))
    suffix = "_" + hashlib.sha256(whole.encode()).hexdigest()[:_HASH_CHARACTERS]
    # An odd half of a character is dropped whole.
    cut = plain.encode()[: MAX_IDENTIFIER_BYTES - len(suffix)].decode(errors="ignore")
    return cut + suffix


def on_partition(index: DeclaredIndex, partition: RelationName, name: str) -> DeclaredIndex:
    """The declaration of the index on one partition; what is judged is judged of the whole."""
    return replace(index, name=name, table=partition, probes=(), not_null=(), max_size_ratio=None)


def with_partitions(observed: Iterable[ObservedIndex]) -> Iterator[ObservedIndex]:
    """Every index and, after one of a partitioned table, those of the tables below it."""
    for index in observed:
        yield index
        yield from (partition.observed for partition in index.partitions)


# Building


def plan_partitions(
    index: ObservedIndex, steps: PartitionSteps, steps_for: Callable[[ObservedIndex], Iterable[Step]]
) -> None:
    """Adds the steps after which the index of a partitioned table is valid.

    `steps_for` gives those that make an ordinary index stand.
    """
    if _is_to_be_created(index):
        steps.parents.append(create_parent_step(index.declared, None))
    ends: list[Step] = []
    for partition in index.partitions:
        observed = partition.observed
        if observed.is_partitioned:
            if _is_to_be_created(observed):
                steps.parents.append(create_parent_step(observed.declared, partition.parent))
            if not partition.is_attached:
                ends.append(attach_step(partition, index.declared.table))
        elif not partition.is_attached:
            lane = steps.lanes.setdefault(observed.declared.table, [])
            if observed.state not in _STANDING:
                lane += (replace(step, parent=partition.parent) for step in steps_for(observed))
            lane.append(attach_step(partition, observed.declared.table))
    # The lowest first: an index that is not valid is not attached.
    steps.ends += (attach_step(child, index.declared.table) for child in _to_attach_again(index))
    steps.ends += reversed(ends)


def _is_to_be_created(observed: ObservedIndex) -> bool:
    """Also where a stranger's is to be completed: from then on it is known as ours."""
    return observed.state in (IndexState.ABSENT, IndexState.INVALID_FOREIGN)


def _to_attach_again(index: ObservedIndex) -> Iterator[ObservedPartition]:
    """One child of each index that is not valid although all its children are attached and valid.

    So it stands after an INVALID child was repaired, or the last partition without an index went away; to
    attach one again has PostgreSQL look.
    """
    children: dict[RelationName, list[ObservedPartition]] = {}
    for partition in index.partitions:
        children.setdefault(partition.parent, []).append(partition)
    for above in (index, *(one.observed for one in index.partitions if one.observed.is_partitioned)):
        below = children.get(above.declared.relation, [])
        settled = all(child.is_attached and child.observed.state in _STANDING for child in below)
        if above.state in (IndexState.INCOMPLETE, IndexState.INVALID_FOREIGN) and below and settled:
            yield below[0]


def create_parent_step(index: DeclaredIndex, parent: RelationName | None) -> Step:
    """CREATE INDEX ON ONLY a partitioned table as a step."""
    return Step(
        StepKind.CREATE_PARENT,
        index.table,
        index,
        ddl.as_text(ddl.create_index(index, concurrently=False, only=True)),
        _CREATE_PARENT_LOCK,
        "the index is there, INVALID while partitions lack theirs",
        ddl.as_text(ddl.drop_index(index.relation, concurrently=False)),
        parent,
    )


def attach_step(partition: ObservedPartition, table: RelationName) -> Step:
    """ALTER INDEX … ATTACH PARTITION as a step in the lane of `table`."""
    return Step(
        StepKind.ATTACH,
        table,
        partition.index,
        ddl.as_text(ddl.attach_partition(partition.parent, partition.index.relation)),
        _ATTACH_LOCK,
        "the index is a partition of the one above; with the last one, that is valid",
        # PostgreSQL detaches no index.
        None,
        partition.parent,
    )


# Rolling back


def plan_partitions_rollback(
    index: ObservedIndex,
    created: Collection[str],
    stood_before: Collection[RelationName],
    steps: PartitionSteps,
    drop_step: Callable[[DeclaredIndex], Step],
) -> ObservedIndex | None:
    """Adds the steps that drop what the migration created; or the index again, saying why it is refused.

    What is not attached is dropped concurrently first, by `drop_step`; the rest can only go with the index
    above. `stood_before` are indexes that the migration attached and did not build.
    """
    kept = [one.index.relation for one in index.partitions if one.is_attached]
    kept = [relation for relation in kept if relation in stood_before]
    mine = index.declared.name in created and index.state is not IndexState.COVERED
    if mine and kept:
        names = ", ".join(relation.quoted for relation in kept)
        return replace(
            index,
            detail=f"dropping it would drop {names} too, which stood before and cannot be detached",
        )
    for partition in index.partitions:
        observed = partition.observed
        if partition.is_attached or observed.declared.name not in created:
            continue
        if observed.is_partitioned and observed.indexrelid is not None:
            # With what is attached to it; above it nothing holds it yet.
            steps.ends.append(drop_parent_step(observed.declared))
        elif observed.state in DROPPABLE:
            drop = replace(drop_step(observed.declared), parent=partition.parent)
            steps.lanes.setdefault(drop.table, []).append(drop)
    if mine and index.indexrelid is not None:
        steps.ends.append(drop_parent_step(index.declared))
    return None


def drop_parent_step(index: DeclaredIndex) -> Step:
    """DROP INDEX of a partitioned table, with the indexes attached to it, as a step."""
    return Step(
        StepKind.DROP_PARENT,
        index.table,
        index,
        ddl.as_text(ddl.drop_index(index.relation, concurrently=False)),
        _DROP_PARENT_LOCK,
        "no index bears the name",
        ddl.as_text(ddl.create_index(index, concurrently=False, only=True)),
    )
