"""What the catalogue and the tables say of an index that was built: flags, sizes, NULL in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from exporter.model import RelationName
from exporter.postgres import ddl
from exporter.postgres.fetching import fetch
from exporter.postgres.queries import query_text
from exporter.postgres.target import Connection, bounded_read


@dataclass(frozen=True, slots=True)
class IndexRow:
    """An index and its table. Source: pg_index, pg_stat_all_tables, pg_attribute, pg_constraint (14).

    `proven_columns` are those that a constraint keeps free of NULL.
    """

    indisvalid: bool | None
    indisready: bool | None
    table_last_analyze: datetime | None
    proven_columns: list[str]


@dataclass(frozen=True, slots=True)
class IndexSizes:
    """The sizes of an index and its table. Units: bytes, pages.

    Source: pg_relation_size(), pg_table_size() (14).
    """

    size_bytes: int | None
    table_size_bytes: int | None
    table_pages: int | None


def read_index_row(
    connection: Connection, indexrelid: int | None, relid: int | None, column_names: Sequence[str]
) -> IndexRow:
    """The index's row; every fact is None without an index."""
    rows = fetch(
        connection,
        "declared_index_facts",
        IndexRow,
        indexrelid=indexrelid,
        relid=relid,
        column_names=list(column_names),
    )
    return rows[0] if rows else IndexRow(None, None, None, [])


def read_index_sizes(
    connection: Connection, indexrelid: int | None, relid: int | None, *, budget_seconds: float
) -> IndexSizes:
    """The sizes, read within the budget.

    Raises: psycopg.Error when a relation is locked or the budget ends.
    """
    with bounded_read(connection, budget_seconds):
        (sizes,) = fetch(connection, "declared_index_sizes", IndexSizes, indexrelid=indexrelid, relid=relid)
        return sizes


def read_null_exists(
    connection: Connection, table: RelationName, column: str, *, budget_seconds: float
) -> bool:
    """Whether the column holds a NULL, read within the budget.

    Raises: psycopg.Error when the table is locked, may not be read, or the budget ends.
    """
    text = query_text("null_exists", server_version_num=connection.info.server_version)
    statement = sql.SQL(text).format(table=ddl.qualified(table), column=sql.Identifier(column))
    with bounded_read(connection, budget_seconds):
        ((null_exists,),) = ddl.run_single(connection, statement).fetchall()
        return bool(null_exists)
