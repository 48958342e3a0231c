"""What the catalogue says of tables, their indexes and who works on them; and a declaration's canonical form.

The server is the parser: a declared index is created on an empty temporary clone of its table in a
transaction that is rolled back, and `pg_get_indexdef` of it is the form in which definitions are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporter.model import DeclaredIndex, RelationName
from exporter.postgres import ddl
from exporter.postgres.fetching import fetch, fetch_one
from exporter.postgres.target import Connection, set_session

LOCK_TIMEOUT_MILLISECONDS = "5000"


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A declared table. Units: rows, blocks, seconds since the epoch. Source: pg_class (all versions)."""

    relid: int
    relkind: str
    reltuples: float
    relpages: int
    is_owner: bool
    owner_name: str
    owner_is_superuser: bool
    may_create: bool
    may_analyze: bool
    last_analyze: float | None


@dataclass(frozen=True, slots=True)
class TableIndex:
    """One index of a table. `nature` is its definition from USING on, free of the names before it."""

    indexrelid: int
    indexname: str
    indisvalid: bool
    indisready: bool
    indislive: bool
    indisunique: bool
    definition: str
    nature: str
    tablespace: str | None

    @property
    def is_usable(self) -> bool:
        """True when queries may use it and writes maintain it."""
        return self.indisvalid and self.indisready and self.indislive


@dataclass(frozen=True, slots=True)
class CompiledIndex:
    """A declaration as the server understands it; `definition` is what pg_get_indexdef will show."""

    definition: str
    indisunique: bool
    nature: str

    def is_equal(self, index: TableIndex) -> bool:
        """True when the index on the table is the one declared, under whatever name."""
        return (self.indisunique, self.nature) == (index.indisunique, index.nature)


@dataclass(frozen=True, slots=True)
class PartitionKey:
    """What a table is partitioned by, as SQL; None where it is not."""

    partition_key: str | None


@dataclass(frozen=True, slots=True)
class NamedRelation:
    """The relation of a name; `relid`, `schemaname` and `relname` are an index's table."""

    oid: int
    relkind: str
    relid: int | None
    schemaname: str | None
    relname: str | None


@dataclass(frozen=True, slots=True)
class TableBuilder:
    """A session that holds ShareUpdateExclusiveLock on a table; `locked_indexes` has the oids of those of
    its indexes that it holds it on too, as a drop does.
    """

    pid: int
    application_name: str | None
    usename: str | None
    locked_indexes: Sequence[int] = ()


def read_table(connection: Connection, table: RelationName) -> TableFacts | None:
    """The table's facts, None when there is no such relation."""
    return fetch_one(
        connection, "table_facts", TableFacts, schemaname=table.schemaname, relname=table.relname
    )


def read_tables(connection: Connection, names: Iterable[RelationName]) -> dict[RelationName, TableFacts]:
    """The facts of each of the relations that exists, in their order."""
    tables = {name: read_table(connection, name) for name in dict.fromkeys(names)}
    return {name: facts for name, facts in tables.items() if facts is not None}


def read_table_indexes(connection: Connection, relid: int) -> list[TableIndex]:
    """Every index of the table, whatever its state."""
    return fetch(connection, "table_indexes", TableIndex, relid=relid)


def read_relation(connection: Connection, name: RelationName) -> NamedRelation | None:
    """The relation of that name, None when the name is free."""
    return fetch_one(
        connection, "relation_by_name", NamedRelation, schemaname=name.schemaname, relname=name.relname
    )


def read_table_builders(connection: Connection, relid: int) -> list[TableBuilder]:
    """Sessions other than autovacuum that build on the table, drop from it, or analyze it."""
    return fetch(connection, "table_builders", TableBuilder, relid=relid)


def read_partition_key(connection: Connection, table: RelationName) -> str | None:
    """What the table is partitioned by, None for any other table."""
    rows = fetch(
        connection, "partition_key", PartitionKey, schemaname=table.schemaname, relname=table.relname
    )
    return rows[0].partition_key if rows else None


def compile_index(connection: Connection, index: DeclaredIndex) -> CompiledIndex:
    """The declared index as the server understands it, compiled on an empty clone that is rolled back.

    Takes AccessShareLock on the table for a moment.
    Raises: psycopg.Error with the server's verdict on the declaration.
    """
    clone = index.table.relname
    partition_key = read_partition_key(connection, index.table)
    with connection.transaction(force_rollback=True):
        set_session(connection, {"lock_timeout": LOCK_TIMEOUT_MILLISECONDS}, local=True)
        ddl.run_single(connection, ddl.create_clone(index.table, clone, partition_key=partition_key))
        temporary = ddl.qualified(RelationName("pg_temp", clone))
        ddl.run_single(connection, ddl.create_index(index, concurrently=False, table=temporary))
        rows = fetch(
            connection, "compiled_index", CompiledIndex, schemaname=index.table.schemaname, relname=clone
        )
        return rows[0]
