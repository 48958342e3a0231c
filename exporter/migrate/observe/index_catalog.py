"""The state of one declared index among the indexes of its table.

The catalogue decides, the journal explains. A client's error is never believed: the server may have
finished what it was asked to cancel, or cancelled what seemed finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from exporter.migrate.observe.table_kinds import describe_relation
from exporter.model import DeclaredIndex, IndexState, ObservedIndex
from exporter.postgres.builds.progress import read_builds
from exporter.postgres.journal import CreatedIndex
from exporter.postgres.relations.tables import (
    CompiledIndex,
    TableIndex,
    read_relation,
    read_table_builders,
    read_table_indexes,
)
from exporter.postgres.target import APPLICATION_NAME, Connection

# The sessions of this tool that build or drop: this tool may follow what a dead run left running.
OWN_SESSIONS = (f"{APPLICATION_NAME}/", f"{APPLICATION_NAME}-cleanup/")


@dataclass(frozen=True, slots=True)
class IndexCatalog:
    """The indexes of one table, read once, and those that the migration created by its journal."""

    connection: Connection
    relid: int
    indexes: Sequence[TableIndex]
    created: Mapping[str, CreatedIndex]

    @classmethod
    def read(cls, connection: Connection, relid: int, created: Mapping[str, CreatedIndex]) -> IndexCatalog:
        """The indexes of the table as they are now."""
        return cls(connection, relid, read_table_indexes(connection, relid), created)

    def named(self, indexname: str) -> TableIndex | None:
        """The table's index of that name."""
        return next((index for index in self.indexes if index.indexname == indexname), None)

    def equal_to(self, compiled: CompiledIndex) -> TableIndex | None:
        """A usable index with the same definition, under any name."""
        return next((index for index in self.indexes if index.is_usable and compiled.is_equal(index)), None)


def observe_in_catalog(catalog: IndexCatalog, index: DeclaredIndex, compiled: CompiledIndex) -> ObservedIndex:
    """The state of one index; the canonical form of its declaration is `compiled`."""
    named = catalog.named(index.name)
    if named is not None:
        return _observe_named(catalog, index, compiled, named)
    unbuilt = ObservedIndex(index, IndexState.ABSENT, compiled.definition, relid=catalog.relid)
    relation = read_relation(catalog.connection, index.relation)
    if relation is not None and relation.relid == catalog.relid:
        # It was created after the table's indexes were read.
        now = IndexCatalog.read(catalog.connection, catalog.relid, catalog.created)
        return observe_in_catalog(now, index, compiled)
    if relation is not None:
        detail = f"{index.relation.quoted} is {describe_relation(relation)}"
        return replace(unbuilt, state=IndexState.CONFLICT, detail=detail)
    equal = catalog.equal_to(compiled)
    if equal is not None:
        return replace(
            unbuilt,
            state=IndexState.COVERED,
            found_definition=equal.definition,
            covered_by=equal.indexname,
            detail=f"{equal.indexname} is the same index under another name",
            indexrelid=equal.indexrelid,
        )
    return replace(unbuilt, detail="there is no index of that name")


def _observe_named(
    catalog: IndexCatalog, index: DeclaredIndex, compiled: CompiledIndex, named: TableIndex
) -> ObservedIndex:
    builder_pid: int | None = None
    is_elsewhere = index.tablespace is not None and named.tablespace != index.tablespace
    if is_elsewhere or not compiled.is_equal(named):
        state, detail = IndexState.CONFLICT, "the index of that name has another definition"
    elif named.is_usable:
        state, detail = IndexState.PRESENT, "present as declared"
    else:
        state, builder_pid, detail = _observe_invalid(catalog, index, named)
    return ObservedIndex(
        index,
        state,
        compiled.definition,
        found_definition=named.definition,
        builder_pid=builder_pid,
        detail=detail,
        indexrelid=named.indexrelid,
        relid=catalog.relid,
        indisready=named.indisready,
    )


def _observe_invalid(
    catalog: IndexCatalog, index: DeclaredIndex, named: TableIndex
) -> tuple[IndexState, int | None, str]:
    # INVALID also means "being built now": a cleanup that reads only the flag would drop a running build.
    sessions = [
        (build.pid, build.application_name, build.usename, False)
        for build in read_builds(catalog.connection)
        if build.index_relid == named.indexrelid or (build.index_relid == 0 and build.relid == catalog.relid)
    ] or [
        (builder.pid, builder.application_name, builder.usename, named.indexrelid in builder.locked_indexes)
        for builder in read_table_builders(catalog.connection, catalog.relid)
    ]
    if sessions:
        pid, application_name, usename, is_drop = sessions[0]
        verb = "dropped" if is_drop else "built"
        detail = f"being {verb} by pid {pid}, user {usename or 'unknown'}, {application_name or 'no name'}"
        if not (application_name or "").startswith(OWN_SESSIONS):
            return IndexState.BUILDING_FOREIGN, pid, detail
        return (IndexState.DROPPING_OURS if is_drop else IndexState.BUILDING_OURS), pid, detail
    created = catalog.created.get(index.name)
    if created is None:
        return IndexState.INVALID_FOREIGN, None, "INVALID, and the journal does not know it"
    if created.is_dropping:
        detail = "INVALID: its drop did not finish, queries cannot use it"
        return IndexState.DEGRADED, None, detail
    return IndexState.INVALID_OURS, None, "INVALID, left by an earlier run of this tool"
