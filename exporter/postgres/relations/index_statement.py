"""A CREATE INDEX statement as the server understands it, compiled on an empty clone of its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from exporter.model import RelationName
from exporter.parsing.create_index import IndexStatement
from exporter.postgres import ddl
from exporter.postgres.fetching import fetch
from exporter.postgres.relations.tables import (
    LOCK_TIMEOUT_MILLISECONDS,
    CompiledIndex,
    read_partition_key,
)
from exporter.postgres.target import SESSION, Connection, set_session


@dataclass(frozen=True, slots=True)
class ImportedIndex:
    """The name and the tablespace of the one index of a clone. Source: pg_class, pg_tablespace (14)."""

    indexname: str
    tablespace: str | None


def compile_statement(
    connection: Connection, statement: IndexStatement, table: RelationName, search_path: Sequence[str]
) -> tuple[ImportedIndex, CompiledIndex]:
    """The index that the statement would create on the table; everything is rolled back.

    `search_path` is the statement's own. Takes AccessShareLock on the table for a moment.
    Raises: psycopg.Error when the server refuses the statement.
    """
    partition_key = read_partition_key(connection, table)
    parameters = {"schemaname": table.schemaname, "relname": table.relname}
    with connection.transaction(force_rollback=True):
        limits = {"lock_timeout": LOCK_TIMEOUT_MILLISECONDS, "temp_tablespaces": ""}
        set_session(connection, limits, local=True)
        ddl.run_single(connection, ddl.create_clone(table, table.relname, partition_key=partition_key))
        path = ", ".join(sql.Identifier(name).as_string(None) for name in search_path)
        set_session(connection, {"search_path": f"{path}, pg_temp"}, local=True)
        ddl.run_single(connection, _on_clone(statement, table))
        # Definitions show names with their schema only where search_path does not find them.
        set_session(connection, {"search_path": SESSION["search_path"]}, local=True)
        (compiled,) = fetch(connection, "compiled_index", CompiledIndex, **parameters)
        (imported,) = fetch(connection, "imported_index", ImportedIndex, **parameters)
    return imported, compiled


def _on_clone(statement: IndexStatement, table: RelationName) -> sql.Composed:
    parts: list[sql.Composable] = [sql.SQL("CREATE UNIQUE INDEX" if statement.unique else "CREATE INDEX")]
    if statement.name is not None:
        parts.append(sql.Identifier(statement.name))
    clone = ddl.qualified(RelationName("pg_temp", table.relname))
    parts += [sql.SQL("ON"), clone, ddl.manifest_sql(statement.rest)]
    return sql.SQL(" ").join(parts)
