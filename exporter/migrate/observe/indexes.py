"""Where each declared index stands: decided by the catalogue, explained by the journal.

Asked before every attempt and after every error. A client's error is never believed: the server may have
finished what it was told to stop, or stopped what it seemed to finish.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import psycopg

from exporter.errors import Fault, ManifestError
from exporter.migrate.observe.partitions import as_partitioned, foreign_faults, observe_partitions
from exporter.model import DeclaredIndex, IndexState, Manifest, ObservedIndex, RelationName
from exporter.postgres.builds.progress import read_builds
from exporter.postgres.journal import CreatedIndex
from exporter.postgres.relations.tables import (
    CompiledIndex,
    NamedRelation,
    TableFacts,
    TableIndex,
    compile_index,
    read_relation,
    read_table,
    read_table_builders,
    read_table_indexes,
)
from exporter.postgres.target import APPLICATION_NAME, Connection, first_line

# The sessions of this tool that build or drop: what a dead run left working is ours to follow.
OWN_WORK = (f"{APPLICATION_NAME}/", f"{APPLICATION_NAME}-cleanup/")
_TABLE_KINDS = {"r": "table", "p": "partitioned table", "m": "materialized view"}
_ANALYZED_KINDS = {*_TABLE_KINDS, "f"}
_OTHER_KINDS = {
    "v": "view",
    "f": "foreign table",
    "S": "sequence",
    "c": "composite type",
    "i": "index",
    "I": "partitioned index",
    "t": "TOAST table",
    **_TABLE_KINDS,
}
_HINTS = {
    "42703": "correct the column's name",
    "42704": "write operator classes, types and collations with their schema: init pins search_path",
    "42883": "write functions with their schema: init pins search_path to pg_catalog",
    "42P17": "use immutable functions only",
    "42601": "write columns and where as in CREATE INDEX",
    "42501": "grant TEMPORARY on the database and SELECT on the table to this role",
    "25006": "connect to the primary: declarations are compiled on an empty temporary table",
}


def observe(
    connection: Connection, manifest: Manifest, ours: Mapping[str, CreatedIndex]
) -> tuple[ObservedIndex, ...]:
    """Where each declared index of the manifest stands. `ours` are those that this tool began to build.

    Raises: ManifestError with every declaration that the server refuses; LockNotAvailable when somebody
    locks a table.
    """
    faults: list[Fault] = []
    observed: list[ObservedIndex] = []
    names = {index.name for index in manifest.indexes}
    for index in manifest.indexes:
        table = read_table(connection, index.table)
        fault = _table_fault(manifest, index, table)
        if fault is None and table is not None:
            try:
                compiled = compile_index(connection, index)
            except psycopg.errors.LockNotAvailable:
                # Nothing is wrong with the declaration.
                raise
            except psycopg.Error as error:
                fault = _compile_fault(manifest, index, error)
            else:
                found = observe_index(connection, index, compiled, table, ours)
                if found.is_partitioned:
                    place = _place(manifest, index)
                    faults += foreign_faults(connection, table.relid, index, place)
                    found = observe_partitions(connection, found, compiled, ours, names, observe_among)
                    names |= {one.observed.declared.name for one in found.partitions}
                observed.append(found)
        if fault is not None:
            faults.append(fault)
    faults += _analyze_faults(connection, manifest)
    if faults:
        raise ManifestError(f"{manifest.path} does not fit this database; nothing was touched", faults=faults)
    return tuple(observed)


def observe_index(
    connection: Connection,
    index: DeclaredIndex,
    compiled: CompiledIndex,
    table: TableFacts,
    ours: Mapping[str, CreatedIndex],
) -> ObservedIndex:
    """Where one declared index stands, its canonical form being known."""
    siblings = read_table_indexes(connection, table.relid)
    observed = observe_among(connection, index, compiled, table.relid, siblings, ours)
    return observed if table.relkind != "p" else as_partitioned(observed, ours)


def observe_among(
    connection: Connection,
    index: DeclaredIndex,
    compiled: CompiledIndex,
    relid: int,
    siblings: Sequence[TableIndex],
    ours: Mapping[str, CreatedIndex],
) -> ObservedIndex:
    """Where one index stands, the indexes of its table being known."""
    named = next((found for found in siblings if found.indexname == index.name), None)
    if named is not None:
        return _observe_named(connection, index, compiled, relid, named, ours)
    stranger = read_relation(connection, index.relation)
    if stranger is not None and stranger.relid == relid:
        # Somebody built it since the table's indexes were read.
        siblings = read_table_indexes(connection, relid)
        return observe_among(connection, index, compiled, relid, siblings, ours)
    if stranger is not None:
        return ObservedIndex(
            index,
            IndexState.CONFLICT,
            compiled.definition,
            detail=f"{index.relation.quoted} is {_describe(stranger)}",
            relid=relid,
        )
    twin = next((found for found in siblings if found.is_usable and compiled.is_equal(found)), None)
    if twin is not None:
        return ObservedIndex(
            index,
            IndexState.COVERED,
            compiled.definition,
            found_definition=twin.definition,
            covered_by=twin.indexname,
            detail=f"{twin.indexname} is the same index under another name",
            indexrelid=twin.indexrelid,
            relid=relid,
        )
    return ObservedIndex(
        index,
        IndexState.ABSENT,
        compiled.definition,
        detail="no index bears the name",
        relid=relid,
    )


def _observe_named(
    connection: Connection,
    index: DeclaredIndex,
    compiled: CompiledIndex,
    relid: int,
    named: TableIndex,
    ours: Mapping[str, CreatedIndex],
) -> ObservedIndex:
    builder_pid: int | None = None
    if not compiled.is_equal(named) or (
        index.tablespace is not None and named.tablespace != index.tablespace
    ):
        state, detail = IndexState.CONFLICT, "the index of that name is defined otherwise"
    elif named.is_usable:
        state, detail = IndexState.PRESENT, "present as declared"
    else:
        state, builder_pid, detail = _observe_invalid(connection, index, relid, named, ours)
    return ObservedIndex(
        index,
        state,
        compiled.definition,
        found_definition=named.definition,
        builder_pid=builder_pid,
        detail=detail,
        indexrelid=named.indexrelid,
        relid=relid,
        indisready=named.indisready,
    )


def _observe_invalid(
    connection: Connection,
    index: DeclaredIndex,
    relid: int,
    named: TableIndex,
    ours: Mapping[str, CreatedIndex],
) -> tuple[IndexState, int | None, str]:
    # INVALID also means "being built right now": a cleaner that looks only at the flag drops live builds.
    at_work = [
        (build.pid, build.application_name, build.usename, False)
        for build in read_builds(connection)
        if build.index_relid == named.indexrelid or (build.index_relid == 0 and build.relid == relid)
    ] or [
        (one.pid, one.application_name, one.usename, named.indexrelid in one.locked_indexes)
        for one in read_table_builders(connection, relid)
    ]
    if at_work:
        pid, application_name, usename, is_drop = at_work[0]
        doing = "dropped" if is_drop else "built"
        who = f"being {doing} by pid {pid}, user {usename or 'unknown'}, {application_name or 'no name'}"
        if not (application_name or "").startswith(OWN_WORK):
            return IndexState.BUILDING_FOREIGN, pid, who
        return (IndexState.DROPPING_OURS if is_drop else IndexState.BUILDING_OURS), pid, who
    created = ours.get(index.name)
    if created is None:
        return IndexState.INVALID_FOREIGN, None, "INVALID, and the journal does not know it"
    if created.is_dropping:
        return IndexState.DEGRADED, None, "INVALID: a drop of it stopped half-way, no query may use it"
    return IndexState.INVALID_OURS, None, "INVALID, left by an earlier run of this tool"


def _describe(relation: NamedRelation) -> str:
    kind = _OTHER_KINDS.get(relation.relkind, "another kind of relation")
    if relation.schemaname is not None and relation.relname is not None:
        return f"an {kind} of {relation.schemaname}.{relation.relname}"
    return f"a {kind}"


def _place(manifest: Manifest, index: DeclaredIndex) -> str:
    return f"{manifest.path}, index {index.name}"


def _table_fault(manifest: Manifest, index: DeclaredIndex, table: TableFacts | None) -> Fault | None:
    unfit = why_unfit(index.table, table)
    return None if unfit is None else Fault(_place(manifest, index), *unfit)


def why_unfit(name: RelationName, table: TableFacts | None) -> tuple[str, str] | None:
    """Why what bears the name can have no index, and what to do; None where it can."""
    if name.schemaname.startswith("pg_temp"):
        what = f"{name.quoted}: temporary tables belong to one session"
        return what, "name a table that stays, or create the index in that session"
    if table is None:
        return f"there is no table {name.quoted}", "correct the name or the database"
    if name.schemaname == "pg_catalog" and table.relkind in _TABLE_KINDS:
        return f"{name.quoted} is a system catalog, whose indexes are fixed", "name a table"
    if table.relkind not in _TABLE_KINDS:
        kind = _OTHER_KINDS.get(table.relkind, "relation")
        return f"{name.quoted} is a {kind} and cannot have an index", "name a table"
    return None


def _analyze_faults(connection: Connection, manifest: Manifest) -> Iterator[Fault]:
    declared_on = {index.table for index in manifest.indexes}
    for name in manifest.analyze:
        table = None if name in declared_on else read_table(connection, name)
        if name in declared_on or (table is not None and table.relkind in _ANALYZED_KINDS):
            continue
        kind = None if table is None else _OTHER_KINDS.get(table.relkind, "relation")
        yield Fault(
            f"{manifest.path}, analyze",
            f"{name.quoted} is a {kind}" if kind else f"there is no table {name.quoted}",
            "correct the name or take it out of analyze",
        )


def _compile_fault(manifest: Manifest, index: DeclaredIndex, error: psycopg.Error) -> Fault:
    code = error.sqlstate or ""
    return Fault(
        _place(manifest, index),
        f"the server refuses the declaration: {first_line(error)} ({code or 'no SQLSTATE'})",
        _HINTS.get(code, "correct columns, where, include or with"),
    )


def names_by_state(observed: Sequence[ObservedIndex], *states: IndexState) -> tuple[str, ...]:
    """The names of the indexes in one of the states, in the manifest's order."""
    return tuple(index.declared.name for index in observed if index.state in states)
