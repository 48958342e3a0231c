"""The indexes of a partitioned table's partitions, and the state in which they leave the declared one.

An equal index that a partition has already and that is attached to nothing is used; an attached one is
settled, whatever its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from exporter.errors import Fault
from exporter.migrate.observe.index_catalog import IndexCatalog, observe_in_catalog
from exporter.migrate.plan.partitions import on_partition, partition_index_name, with_partitions
from exporter.model import (
    DeclaredIndex,
    IndexState,
    ObservedIndex,
    ObservedPartition,
    RelationName,
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
from exporter.postgres.relations.tables import CompiledIndex
from exporter.postgres.target import Connection

# The states of a partition's index that stop the whole, the worst first.
_STOPPING = (IndexState.CONFLICT, IndexState.BUILDING_FOREIGN, IndexState.INVALID_FOREIGN)


def as_partitioned(observed: ObservedIndex, created: Collection[str]) -> ObservedIndex:
    """The index of a partitioned table by itself, regardless of its partitions.

    Nothing is built on that table: while its index is not valid, partitions lack theirs.
    """
    observed = replace(observed, is_partitioned=True, builder_pid=None)
    if observed.state in (IndexState.ABSENT, IndexState.PRESENT, IndexState.COVERED, IndexState.CONFLICT):
        return observed
    if observed.declared.name in created:
        return replace(observed, state=IndexState.INCOMPLETE, detail="partitions lack theirs")
    detail = "INVALID: partitions lack theirs, and the journal does not know it"
    return replace(observed, state=IndexState.INVALID_FOREIGN, detail=detail)


@dataclass(frozen=True, slots=True)
class _Tree:
    """The declared index of a partitioned table, and the indexes of the tables below by their relid."""

    connection: Connection
    declared: DeclaredIndex
    compiled: CompiledIndex
    created: Mapping[str, CreatedIndex]
    indexes: Mapping[int, Sequence[PartitionIndex]]


def observe_partitions(
    connection: Connection,
    root: ObservedIndex,
    compiled: CompiledIndex,
    created: Mapping[str, CreatedIndex],
    reserved: Collection[str] = (),
) -> ObservedIndex:
    """The index of a partitioned table with those of the tables below it.

    `reserved` are names that the manifest uses: indexes of partitions may not have them.
    """
    if root.relid is None or root.state in (IndexState.CONFLICT, IndexState.COVERED):
        return root
    tables = read_partitions(connection, root.relid)
    indexes: dict[int, list[PartitionIndex]] = {}
    for index in read_partition_indexes(connection, [table.relid for table in tables]):
        indexes.setdefault(index.relid, []).append(index)
    tree = _Tree(connection, root.declared, compiled, created, indexes)
    above = {root.relid: root}
    taken = set(reserved)
    partitions: list[ObservedPartition] = []
    for table in tables:
        partition = _observe(tree, table, above[table.parent_relid], taken)
        above[table.relid] = partition.observed
        taken.add(partition.observed.declared.name)
        partitions.append(partition)
    quoted = read_quoted(connection, [one.observed.declared.name for one in partitions])
    defined = (
        replace(one, observed=replace(one.observed, definition=_definition(compiled, name, table)))
        for one, table in zip(partitions, tables, strict=True)
        for name in [quoted[one.observed.declared.name]]
    )
    return _judged(replace(root, partitions=tuple(defined)))


def foreign_faults(connection: Connection, relid: int, index: DeclaredIndex, place: str) -> Iterator[Fault]:
    """A fault for each partition that is a foreign table."""
    for table in read_partitions(connection, relid):
        if table.relkind == "f":
            why = (
                "it makes a unique index of the whole impossible"
                if index.unique
                else "it has no index, so the index of the whole never becomes valid by ATTACH"
            )
            yield Fault(
                place,
                f"the partition {table.name.quoted} of {index.table.quoted} is a foreign table: {why}",
                "declare the index on each partition that is a table, or detach the foreign table",
            )


def _observe(
    tree: _Tree, table: Partition, parent: ObservedIndex, taken: Collection[str]
) -> ObservedPartition:
    indexes = tree.indexes.get(table.relid, ())
    above = parent.declared.relation
    if parent.covered_by is not None:
        above = RelationName(above.schemaname, parent.covered_by)
    attached = next(
        (one for one in indexes if parent.indexrelid and one.parent_indexrelid == parent.indexrelid), None
    )
    if attached is not None:
        index = on_partition(tree.declared, table.name, attached.indexname)
        return ObservedPartition(_attached(index, attached, table), above, True, table.relpages)
    # An index that this migration left there keeps its name, even if the table was renamed since.
    left = next(
        (one for one in indexes if one.indexname in tree.created and tree.compiled.is_equal(one)), None
    )
    name = left.indexname if left else partition_index_name(tree.declared, table.name, taken)
    index = on_partition(tree.declared, table.name, name)
    named = next((one for one in indexes if one.indexname == name), None)
    if named is not None and named.parent_indexrelid is not None:
        observed = ObservedIndex(
            index,
            IndexState.CONFLICT,
            "",
            found_definition=named.definition,
            detail="the index of that name is attached to another one",
            relid=table.relid,
        )
    else:
        # An index that is attached to another one cannot be used.
        free = [one for one in indexes if one.parent_indexrelid is None]
        catalog = IndexCatalog(tree.connection, table.relid, free, tree.created)
        observed = observe_in_catalog(catalog, index, tree.compiled)
    if table.relkind == "p":
        observed = as_partitioned(observed, tree.created)
    return ObservedPartition(observed, above, False, table.relpages)


def _attached(index: DeclaredIndex, found: PartitionIndex, table: Partition) -> ObservedIndex:
    """The state of an attached index: it is the right one, however it was attached."""
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
        # It is dropped and completed with the index above, even if it was created by hand.
        return replace(
            observed, state=IndexState.INCOMPLETE, detail="attached, and its partitions lack theirs"
        )
    hint = f"REINDEX INDEX CONCURRENTLY {index.relation.quoted} repairs it, then rerun init"
    detail = f"attached, INVALID, and cannot be dropped by itself; {hint}"
    return replace(observed, state=IndexState.CONFLICT, detail=detail)


def _definition(compiled: CompiledIndex, quoted_name: str, table: Partition) -> str:
    unique = "UNIQUE " if compiled.indisunique else ""
    return f"CREATE {unique}INDEX {quoted_name} ON {table.quoted_name} {compiled.nature}"


def _judged(root: ObservedIndex) -> ObservedIndex:
    """The index of the whole in the state that follows from its partitions."""
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
            detail = f"{index.declared.relation.quoted} is INVALID and has no partition that could make it "
            detail += "valid: drop the index of the whole, then rerun init"
            return replace(root, state=IndexState.CONFLICT, detail=detail)
    return replace(root, detail=f"{root.detail}; {_tally(root.partitions)}")


def _tally(partitions: Iterable[ObservedPartition]) -> str:
    """How many leaves have the index, and the state of it on the others."""
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
