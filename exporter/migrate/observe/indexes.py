"""The state of each declared index of a manifest: decided by the catalogue, explained by the journal.

Read before every attempt and after every error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psycopg

from exporter.errors import Fault, ManifestDoesNotFit
from exporter.migrate.observe.compiled import NOT_COMPILED, compiled_before
from exporter.migrate.observe.index_catalog import IndexCatalog, observe_in_catalog
from exporter.migrate.observe.partitions import as_partitioned, foreign_faults, observe_partitions
from exporter.migrate.observe.table_kinds import why_not_analyzed, why_unfit
from exporter.model import DeclaredIndex, Manifest, ObservedIndex
from exporter.postgres.journal import CreatedIndex
from exporter.postgres.relations.tables import CompiledIndex, TableFacts, compile_index, read_table
from exporter.postgres.target import Connection, first_line

_HINTS = {
    "42703": "correct the column's name",
    "42704": "write operator classes, types and collations with their schema: init pins search_path",
    "42883": "write functions with their schema: init pins search_path to pg_catalog",
    "42P17": "use immutable functions only",
    "42601": "write columns and where as in CREATE INDEX",
    "42501": "grant TEMPORARY on the database and SELECT on the table to this role",
    "25006": "connect to the primary: declarations are compiled on an empty temporary table",
}


@dataclass(frozen=True, slots=True)
class Observation:
    """The declared indexes that fit the database, in the manifest's order, and the faults of the others.

    `not_compiled` are declarations that may be right, but that this role or server cannot compile.
    """

    indexes: tuple[ObservedIndex, ...]
    faults: tuple[Fault, ...] = ()
    not_compiled: tuple[Fault, ...] = ()


def observe(
    connection: Connection, manifest: Manifest, created: Mapping[str, CreatedIndex]
) -> tuple[ObservedIndex, ...]:
    """The state of each declared index; `created` are those that the migration created by its journal.

    Raises: ManifestDoesNotFit with every declaration that does not fit the database; LockNotAvailable when a
    table is locked.
    """
    observation = observe_declared(connection, manifest, created)
    if observation.faults:
        raise ManifestDoesNotFit(f"{manifest.path} does not fit this database", faults=observation.faults)
    return observation.indexes


def observe_declared(
    connection: Connection,
    manifest: Manifest,
    created: Mapping[str, CreatedIndex],
    *,
    definitions: Mapping[str, str | None] | None = None,
) -> Observation:
    """The state of each declared index, and every declaration that does not fit the database.

    `definitions` are canonical forms by index name: where they are given, a declaration that this role or
    server cannot compile is no fault and is compared with them.
    Raises: LockNotAvailable when a table is locked.
    """
    faults: list[Fault] = []
    not_compiled: list[Fault] = []
    observed: list[ObservedIndex] = []
    names = {index.name for index in manifest.indexes}
    for index in manifest.indexes:
        place = f"{manifest.path}, index {index.name}"
        table = read_table(connection, index.table)
        unfit = why_unfit(index.table, table)
        if unfit is not None or table is None:
            faults += [] if unfit is None else [Fault(place, *unfit)]
            continue
        try:
            compiled = compile_index(connection, index)
        except psycopg.errors.LockNotAvailable:
            # Nothing is wrong with the declaration.
            raise
        except psycopg.Error as error:
            fault = _compile_fault(place, error)
            if definitions is None or error.sqlstate not in NOT_COMPILED:
                faults.append(fault)
                continue
            before = compiled_before(connection, table, definitions.get(index.name))
            if before is None:
                not_compiled.append(fault)
                continue
            compiled = before
        state = observe_index(connection, index, compiled, table, created)
        if state.is_partitioned:
            faults += foreign_faults(connection, table.relid, index, place)
            state = observe_partitions(connection, state, compiled, created, names)
            names |= {partition.observed.declared.name for partition in state.partitions}
        observed.append(state)
    faults += _analyze_faults(connection, manifest)
    return Observation(tuple(observed), tuple(faults), tuple(not_compiled))


def observe_index(
    connection: Connection,
    index: DeclaredIndex,
    compiled: CompiledIndex,
    table: TableFacts,
    created: Mapping[str, CreatedIndex],
) -> ObservedIndex:
    """The state of one declared index, without those of partitions."""
    catalog = IndexCatalog.read(connection, table.relid, created)
    observed = observe_in_catalog(catalog, index, compiled)
    return observed if table.relkind != "p" else as_partitioned(observed, created)


def _analyze_faults(connection: Connection, manifest: Manifest) -> Iterator[Fault]:
    declared_on = {index.table for index in manifest.indexes}
    for name in manifest.analyze:
        unfit = None if name in declared_on else why_not_analyzed(name, read_table(connection, name))
        if unfit is not None:
            yield Fault(f"{manifest.path}, analyze", *unfit)


def _compile_fault(place: str, error: psycopg.Error) -> Fault:
    code = error.sqlstate or ""
    return Fault(
        place,
        f"the server refuses the declaration: {first_line(error)} ({code or 'no SQLSTATE'})",
        _HINTS.get(code, "correct columns, where, include or with"),
    )
