"""What a declared index keeps of its rows, and what the planner expects of them: for estimates and counts.

All text that comes from a manifest has been through the server's parser here and comes back in its form.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from exporter.model import DeclaredIndex, RelationName
from exporter.postgres import ddl
from exporter.postgres.fetching import fetch, query_for
from exporter.postgres.relations.tables import LOCK_TIMEOUT_MILLISECONDS
from exporter.postgres.target import Connection, bounded_read, set_session

SAMPLED_PAGES = 300


@dataclass(frozen=True, slots=True)
class IndexShape:
    """Columns and expressions of an index as SQL over its table. Units: per cent, blocks, bytes.

    Source: pg_index, pg_get_indexdef() of an empty clone (14).
    """

    method: str
    is_unique: bool
    keys: list[str]
    included: list[str]
    predicate: str | None
    fillfactor: float | None
    pages_per_range: int | None
    block_bytes: int


@dataclass(frozen=True, slots=True)
class ExpectedRows:
    """What the planner expects an index to hold. Units: rows, bytes. Source: EXPLAIN, TABLESAMPLE."""

    row_count: float
    row_bytes: int


@dataclass(frozen=True, slots=True)
class IndexSample:
    """What some pages of the table hold. Units: rows, bytes. Source: TABLESAMPLE SYSTEM (14)."""

    row_count: int
    matching_count: int
    row_bytes: float | None


@dataclass(frozen=True, slots=True)
class DuplicateKeys:
    """Keys that occur more than once, counted up to 1,000, and the rows that have them."""

    key_count: int
    row_count: int | None


def read_shape(connection: Connection, index: DeclaredIndex) -> IndexShape:
    """The shape of the index, compiled on an empty clone that is rolled back.

    Takes AccessShareLock on the table for a moment. Raises: psycopg.Error.
    """
    clone = index.table.relname
    with connection.transaction(force_rollback=True):
        set_session(connection, {"lock_timeout": LOCK_TIMEOUT_MILLISECONDS}, local=True)
        ddl.run_single(connection, ddl.create_clone(index.table, clone))
        temporary = ddl.qualified(RelationName("pg_temp", clone))
        ddl.run_single(connection, ddl.create_index(index, concurrently=False, table=temporary))
        rows = fetch(connection, "index_shape", IndexShape, relname=clone)
        return rows[0]


def expect_rows(
    connection: Connection,
    table: RelationName,
    shape: IndexShape,
    *,
    heap_bytes: int,
    budget_seconds: float,
) -> ExpectedRows:
    """How many rows the index will hold, and how wide: the larger of the planner's and a sample's word.

    The planner knows little of predicates and nothing of expressions; a sample may miss what is rare.
    Reads some hundred pages of the table. Raises: psycopg.Error.
    """
    parts = [*shape.keys, *shape.included]
    condition = _expression(shape.predicate) if shape.predicate is not None else sql.SQL("true")
    widths = sql.SQL(" + ").join(
        sql.SQL("coalesce(pg_catalog.pg_column_size({}), 0)").format(_expression(part)) for part in parts
    )
    with bounded_read(connection, budget_seconds):
        planned = _planned(connection, table, parts, condition)
        everything = planned if shape.predicate is None else _planned(connection, table, parts, None)
        sample = _sample(connection, table, widths, condition, heap_bytes / shape.block_bytes)
    matching = 0.0
    if sample.row_count:
        matching = everything.row_count * sample.matching_count / sample.row_count
    return ExpectedRows(
        max(planned.row_count, matching), max(planned.row_bytes, math.ceil(sample.row_bytes or 0))
    )


def _planned(
    connection: Connection, table: RelationName, parts: Sequence[str], condition: sql.Composable | None
) -> ExpectedRows:
    statement = sql.SQL("SELECT {} FROM ONLY {} WHERE {}").format(
        sql.SQL(", ").join(map(_expression, parts)), ddl.qualified(table), condition or sql.SQL("true")
    )
    ((text,),) = ddl.run_single(connection, ddl.explain(statement)).fetchall()
    plan = (json.loads(text) if isinstance(text, str) else text)[0]["Plan"]
    return ExpectedRows(float(plan["Plan Rows"]), int(plan["Plan Width"]))


def _sample(
    connection: Connection,
    table: RelationName,
    widths: sql.Composable,
    condition: sql.Composable,
    page_count: float,
) -> IndexSample:
    text = query_for(connection, "index_sample")
    statement = sql.SQL(text).format(
        table=ddl.qualified(table),
        widths=widths,
        condition=condition,
        percent=sql.Literal(100.0 if page_count <= SAMPLED_PAGES else 100.0 * SAMPLED_PAGES / page_count),
    )
    ((row_count, matching_count, row_bytes),) = ddl.run_single(connection, statement).fetchall()
    return IndexSample(row_count, matching_count, row_bytes)


def count_duplicates(
    connection: Connection,
    index: DeclaredIndex,
    shape: IndexShape,
    *,
    budget_seconds: float,
) -> DuplicateKeys:
    """How many keys would violate the uniqueness of the index; shows no value.

    Raises: psycopg.errors.QueryCanceled when the budget ends first; other psycopg.Error.
    """
    conditions = [] if shape.predicate is None else [_expression(shape.predicate)]
    if not index.nulls_not_distinct:
        conditions += [sql.SQL("{} IS NOT NULL").format(_expression(key)) for key in shape.keys]
    text = query_for(connection, "duplicate_keys")
    statement = sql.SQL(text).format(
        table=sql.SQL("ONLY {}").format(ddl.qualified(index.table)),
        keys=sql.SQL(", ").join(map(_expression, shape.keys)),
        condition=sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true"),
    )
    with bounded_read(connection, budget_seconds):
        ((key_count, row_count),) = ddl.run_single(connection, statement).fetchall()
    return DuplicateKeys(key_count, row_count)


def _expression(text: str) -> sql.Composed:
    return sql.SQL("({})").format(ddl.manifest_sql(text))
