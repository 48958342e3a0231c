"""Where the indexes of a partitioned table's partitions stand, and so where the declared one stands.

One that a partition has already, equal and attached to nothing, is taken; one that is attached is settled,
whatever its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from exporter.errors import Fault
from exporter.migrate.plan.partitions import on_partition, partition_index_name, with_partitions
from exporter.model import (
    DeclaredIndex,
    Finding,
    IndexState,
    ObservedIndex,
    ObservedPartition,
    RelationName,
    Verdict,
    quote_identifier,
)
from exporter.postgres.journal import CreatedIndex
from exporter.postgres.relations.partitions import (
    Partition,
    PartitionIndex,
    read_partition_indexes,
    read_partitions,
    read_quoted,
)
from exporter.postgres.relations.tables import CompiledIndex, TableIndex
from exporter.postgres.target import Connection

Look = Callable[
    [Connection, DeclaredIndex, CompiledIndex, int, Sequence[TableIndex], Mapping[str, CreatedIndex]],
    ObservedIndex,
]

# What stops the whole index, the worst first.
_STOPPING = (IndexState.CONFLICT, IndexState.BUILDING_FOREIGN, IndexState.INVALID_FOREIGN)


def as_partitioned(observed: ObservedIndex, ours: Collection[str]) -> ObservedIndex:
    """The index of a partitioned table as it stands by itself, whatever its partitions have.

    Nothing is ever built there: while it is not valid, partitions lack theirs.
    """
    observed = replace(observed, is_partitioned=True, builder_pid=None)
    if observed.state in (IndexState.ABSENT, IndexState.PRESENT, IndexState.COVERED, IndexState.CONFLICT):
        return observed
    if observed.declared.name in ours:
        return replace(observed, state=IndexState.INCOMPLETE, detail="partitions lack theirs")
    detail = "INVALID: partitions lack theirs, and the journal does not know it"
    return replace(observed, state=IndexState.INVALID_FOREIGN, detail=detail)


def observe_partitions(
    connection: Connection,
    root: ObservedIndex,
    compiled: CompiledIndex,
    ours: Mapping[str, CreatedIndex],
    reserved: Collection[str],
    look: Look,
) -> ObservedIndex:
    """The index of a partitioned table with those of the tables below it.

    `reserved` are names that indexes of partitions may not be given: the manifest has them. `look` says
    where one index stands, the indexes of its table being known.
    """
    if root.relid is None or root.state in (IndexState.CONFLICT, IndexState.COVERED):
        return root
    tree = read_partitions(connection, root.relid)
    indexes: dict[int, list[PartitionIndex]] = {}
    for found in read_partition_indexes(connection, [table.relid for table in tree]):
        indexes.setdefault(found.relid, []).append(found)
    above = {root.relid: root}
    taken = set(reserved)
    partitions: list[ObservedPartition] = []
    for table in tree:
        parent = above[table.parent_relid]
        on_table = indexes.get(table.relid, [])
        partition = _observe(connection, root.declared, compiled, table, on_table, parent, ours, taken, look)
        above[table.relid] = partition.observed
        taken.add(partition.observed.declared.name)
        partitions.append(partition)
    quoted = read_quoted(connection, [one.observed.declared.name for one in partitions])
    defined = (
        replace(one, observed=replace(one.observed, definition=_definition(compiled, name, table)))
        for one, table in zip(partitions, tree, strict=True)
        for name in [quoted[one.observed.declared.name]]
    )
    return _judged(replace(root, partitions=tuple(defined)))


def foreign_faults(connection: Connection, relid: int, index: DeclaredIndex, place: str) -> Iterator[Fault]:
    """A fault for each partition that is a foreign table."""
    for table in read_partitions(connection, relid):
        if table.relkind == "f":
            why = (
                "a unique index of the whole cannot be had"
                if index.unique
                else "it is left without an index, and the one of the whole never becomes valid by ATTACH"
            )
            yield Fault(
                place,
                f"the partition {table.name.quoted} of {index.table.quoted} is a foreign table: {why}",
                "declare the index on each partition that is a table, or detach the foreign one",
            )


def partition_findings(connection: Connection, relid: int, usename: str) -> Iterator[Finding]:
    """One finding for each partition on which the role may not build."""
    for table in read_partitions(connection, relid):
        if not table.is_owner:
            owner = quote_identifier(table.owner_name)
            yield Finding(
                "ownership",
                table.name.quoted,
                Verdict.FAIL,
                "not_owner",
                f"a partition, owned by {table.owner_name}",
                f"GRANT {owner} TO {usename}, or run as the owner: only owners create indexes",
            )
        if not table.may_create:
            yield Finding(
                "create in schema",
                table.name.quoted,
                Verdict.FAIL,
                "no_create",
                "CREATE on the schema of the partition is not granted",
                f"GRANT CREATE ON SCHEMA {quote_identifier(table.schemaname)} TO {usename}",
            )


def _observe(
    connection: Connection,
    declared: DeclaredIndex,
    compiled: CompiledIndex,
    table: Partition,
    found: Sequence[PartitionIndex],
    parent: ObservedIndex,
    ours: Mapping[str, CreatedIndex],
    taken: Collection[str],
    look: Look,
) -> ObservedPartition:
    above = parent.declared.relation
    if parent.covered_by is not None:
        above = RelationName(above.schemaname, parent.covered_by)
    attached = next(
        (one for one in found if parent.indexrelid and one.parent_indexrelid == parent.indexrelid), None
    )
    if attached is not None:
        index = on_partition(declared, table.name, attached.indexname)
        observed = _attached(index, attached, table)
        return ObservedPartition(observed, above, True, table.relpages)
    # One of ours that was left there keeps its name, should the table have another one now.
    left = next((one for one in found if one.indexname in ours and compiled.is_equal(one)), None)
    name = left.indexname if left else partition_index_name(declared, table.name, taken)
    index = on_partition(declared, table.name, name)
    named = next((one for one in found if one.indexname == name), None)
    if named is not None and named.parent_indexrelid is not None:
        detail = "the index of that name is attached to another one"
        observed = ObservedIndex(
            index,
            IndexState.CONFLICT,
            "",
            found_definition=named.definition,
            detail=detail,
            relid=table.relid,
        )
    else:
        # What belongs to another index of the table above cannot be had.
        free = [one for one in found if one.parent_indexrelid is None]
        observed = look(connection, index, compiled, table.relid, free, ours)
    if table.relkind == "p":
        observed = as_partitioned(observed, ours)
    return ObservedPartition(observed, above, False, table.relpages)


def _attached(index: DeclaredIndex, found: PartitionIndex, table: Partition) -> ObservedIndex:
    """An index that is attached is the right one, however it came there."""
    observed = ObservedIndex(
        index,
        IndexState.PRESENT,
        "",
        found_definition=found.definition,
        detail="attached",
        indexrelid=found.indexrelid,
        relid=table.relid,
        is_partitioned=table.relkind == "p",
    )
    if found.is_usable:
        return observed
    if table.relkind == "p":
        # Whoever made it, it goes with the one above, and is completed with it.
        return replace(
            observed, state=IndexState.INCOMPLETE, detail="attached, and its partitions lack theirs"
        )
    hint = f"REINDEX INDEX CONCURRENTLY {index.relation.quoted} repairs it, then run init again"
    detail = f"attached, INVALID, and cannot be dropped by itself; {hint}"
    return replace(observed, state=IndexState.CONFLICT, detail=detail)


def _definition(compiled: CompiledIndex, quoted_name: str, table: Partition) -> str:
    unique = "UNIQUE " if compiled.indisunique else ""
    return f"CREATE {unique}INDEX {quoted_name} ON {table.quoted_name} {compiled.nature}"


def _judged(root: ObservedIndex) -> ObservedIndex:
    """The index of the whole, in the state that its partitions leave it."""
    states = [root.state, *(one.observed.state for one in root.partitions)]
    worst = next((state for state in _STOPPING if state in states), None)
    if worst is not None and root.state is not worst:
        stopping = next(one.observed for one in root.partitions if one.observed.state is worst)
        return replace(
            root,
            state=worst,
            detail=f"partition {stopping.declared.table.quoted}, index "
            f"{quote_identifier(stopping.declared.name)}: {stopping.detail}",
            builder_pid=stopping.builder_pid,
        )
    above = {one.parent for one in root.partitions}
    for index in with_partitions([root]):
        if index.state is IndexState.INCOMPLETE and index.declared.relation not in above:
            detail = f"{index.declared.relation.quoted} is INVALID without any partition, which nothing "
            detail += "makes valid: drop the index of the whole, then run init again"
            return replace(root, state=IndexState.CONFLICT, detail=detail)
    return replace(root, detail=f"{root.detail}; {_tally(root.partitions)}")


def _tally(partitions: Iterable[ObservedPartition]) -> str:
    """How many leaves have the index, and what the others have."""
    leaves = [one for one in partitions if not one.observed.is_partitioned]
    if not leaves:
        return "no partitions"
    lacking = Counter(
        "not attached" if one.observed.state in (IndexState.PRESENT, IndexState.COVERED) else words
        for one in leaves
        if not one.is_attached
        for words in [_LACKING.get(one.observed.state, one.observed.state.value)]
    )
    attached = sum(one.is_attached for one in leaves)
    noun = "partition" if len(leaves) == 1 else "partitions"
    rest = "".join(f", {count} {words}" for words, count in sorted(lacking.items()))
    return f"{attached} of {len(leaves)} {noun} attached{rest}"


_LACKING = {
    IndexState.ABSENT: "without it",
    IndexState.INVALID_OURS: "INVALID",
    IndexState.DEGRADED: "INVALID",
    IndexState.DROPPING_OURS: "being dropped",
    IndexState.BUILDING_OURS: "being built",
}
