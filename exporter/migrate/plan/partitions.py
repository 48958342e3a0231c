"""The index of a partitioned table: the indexes that its partitions must have, and the steps. Pure.

PostgreSQL builds no index of a partitioned table concurrently. It allows this: create the index on the
table ONLY, which is INVALID and costs nothing; build an index on each leaf, like any other; attach each
when it is valid, until the one above is valid too. A partition that is created after the first step gets
its index from the server.
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
_PRESENT = (IndexState.PRESENT, IndexState.COVERED)
# The states in which rollback drops what this migration created.
DROPPABLE = (
    IndexState.PRESENT,
    IndexState.INVALID_OURS,
    IndexState.DROPPING_OURS,
    IndexState.DEGRADED,
)
_CREATE_PARENT_LOCK = (
    "ShareLock on the partitioned table alone, for a moment: writes through it wait; "
    "waits at most a second at a time for writers"
)
_ATTACH_LOCK = (
    "AccessExclusiveLock on the partition's index, ShareUpdateExclusiveLock on the one above, for a moment: "
    "reads of the partition wait; waits at most a second at a time for readers"
)
_DROP_PARENT_LOCK = (
    "AccessExclusiveLock on the table and every partition, for a moment: reads and writes wait; "
    "PostgreSQL drops no partitioned index concurrently. Waits at most a second at a time"
)


@dataclass(slots=True)
class PartitionSteps:
    """The steps for partitioned tables, by the order in which they may run.

    `parents` come first; `by_table` are those of each leaf table, in order and independent of each other;
    `ends` come last, in order.
    """

    parents: list[Step] = field(default_factory=list)
    by_table: dict[RelationName, list[Step]] = field(default_factory=dict)
    ends: list[Step] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many steps there are."""
        return len(self.parents) + sum(map(len, self.by_table.values())) + len(self.ends)


# Names


def partition_index_name(index: DeclaredIndex, partition: RelationName, taken: Collection[str]) -> str:
    """The name of the index on a partition: both names, or what fits of them with a hash of the whole.

    `taken` are names that it may not have: the journal identifies the indexes of a migration by name.
    """
    plain = f"{index.name}_{partition.relname}"
    is_plain = partition.schemaname == index.table.schemaname and plain not in taken
    if is_plain and len(plain.encode()) <= MAX_IDENTIFIER_BYTES:
        return plain
    whole = "\0".join((index.table.schemaname, index.name, partition.schemaname, partition.relname))
    suffix = "_" + hashlib.sha256(whole.encode()).hexdigest()[:_HASH_CHARACTERS]
    # A character that is cut in two is removed.
    cut = plain.encode()[: MAX_IDENTIFIER_BYTES - len(suffix)].decode(errors="ignore")
    return cut + suffix


def on_partition(index: DeclaredIndex, partition: RelationName, name: str) -> DeclaredIndex:
    """The declaration of the index on one partition; criteria are judged for the whole index."""
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

    `steps_for` returns those that build an ordinary index.
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
            own = steps.by_table.setdefault(observed.declared.table, [])
            if observed.state not in _PRESENT:
                own += (replace(step, parent=partition.parent) for step in steps_for(observed))
            own.append(attach_step(partition, observed.declared.table))
    # The lowest first: an index that is not valid is not attached.
    steps.ends += (attach_step(child, index.declared.table) for child in _to_attach_again(index))
    steps.ends += reversed(ends)


def _is_to_be_created(observed: ObservedIndex) -> bool:
    """True also for an adopted index of unknown origin: the step records it as created by the migration."""
    return observed.state in (IndexState.ABSENT, IndexState.INVALID_FOREIGN)


def _to_attach_again(index: ObservedIndex) -> Iterator[ObservedPartition]:
    """One child of each index that is not valid although all its children are attached and valid.

    This happens after an INVALID child was repaired, or the last partition without an index was removed;
    attaching a child again makes PostgreSQL check.
    """
    children: dict[RelationName, list[ObservedPartition]] = {}
    for partition in index.partitions:
        children.setdefault(partition.parent, []).append(partition)
    for above in (index, *(one.observed for one in index.partitions if one.observed.is_partitioned)):
        below = children.get(above.declared.relation, [])
        settled = all(child.is_attached and child.observed.state in _PRESENT for child in below)
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
    """ALTER INDEX … ATTACH PARTITION as one of the steps of `table`."""
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
    attached_only: Collection[RelationName],
    steps: PartitionSteps,
    drop_step: Callable[[DeclaredIndex], Step],
) -> ObservedIndex | None:
    """Adds the steps that drop what the migration created; the index with its reason if it is refused.

    Indexes that are not attached are dropped concurrently first, by `drop_step`; the others can only be
    dropped with the index above. `attached_only` are indexes that the migration attached and did not build.
    """
    kept = [one.index.relation for one in index.partitions if one.is_attached]
    kept = [relation for relation in kept if relation in attached_only]
    mine = index.declared.name in created and index.state is not IndexState.COVERED
    if mine and kept:
        names = ", ".join(relation.quoted for relation in kept)
        return replace(
            index,
            detail=f"dropping it would drop {names} too, which existed before and cannot be detached",
        )
    for partition in index.partitions:
        observed = partition.observed
        if partition.is_attached or observed.declared.name not in created:
            continue
        if observed.is_partitioned and observed.indexrelid is not None:
            # With the indexes attached to it; it is not attached itself.
            steps.ends.append(drop_parent_step(observed.declared))
        elif observed.state in DROPPABLE:
            drop = replace(drop_step(observed.declared), parent=partition.parent)
            steps.by_table.setdefault(drop.table, []).append(drop)
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
        "there is no index of that name",
        ddl.as_text(ddl.create_index(index, concurrently=False, only=True)),
    )
