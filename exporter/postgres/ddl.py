"""CREATE, DROP, ANALYZE and EXPLAIN, composed from the manifest's text.

The only room that turns text of a manifest into SQL. Whatever holds such text goes through `run_single`:
the extended protocol accepts one statement, so that a planted `; commit; drop table …` is a syntax error
where the simple protocol would run it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql

from exporter.model import DeclaredIndex, RelationName
from exporter.postgres.target import Connection


def manifest_sql(text: str) -> sql.SQL:
    """Return text of the manifest as SQL, unchanged. Sent only by `run_single` or with bound parameters."""
    # The one cast of manifest text: the person who runs a migration vouches for its manifest.
    return sql.SQL(cast(LiteralString, text))


def run_single(
    connection: Connection, statement: sql.Composable, parameters: Mapping[str, object] | None = None
) -> psycopg.Cursor[tuple[Any, ...]]:
    """The cursor after the statement ran by the extended protocol, alone on the wire.

    Without parameters a per cent sign in the statement is a literal.
    """
    # A binary cursor makes psycopg bind and execute instead of sending a simple query.
    cursor = connection.cursor(binary=True)
    return cursor.execute(cast(sql.Composed, statement), parameters)


def qualified(relation: RelationName) -> sql.Identifier:
    """A relation's quoted, schema-qualified name."""
    return sql.Identifier(relation.schemaname, relation.relname)


def create_index(
    index: DeclaredIndex,
    *,
    concurrently: bool = True,
    only: bool = False,
    table: sql.Composable | None = None,
) -> sql.Composed:
    """CREATE INDEX as declared, without IF NOT EXISTS, which would accept an INVALID index.

    With `only` the index of a partitioned table comes without those of its partitions.
    """
    parts: list[sql.Composable] = [sql.SQL("CREATE")]
    if index.unique:
        parts.append(sql.SQL("UNIQUE"))
    parts.append(sql.SQL("INDEX"))
    if concurrently:
        parts.append(sql.SQL("CONCURRENTLY"))
    parts += [
        sql.Identifier(index.name),
        sql.SQL("ON ONLY") if only else sql.SQL("ON"),
        table or qualified(index.table),
        sql.SQL("USING"),
        sql.Identifier(index.method),
        _list(index.columns),
    ]
    if index.include:
        parts += [sql.SQL("INCLUDE"), _list(index.include)]
    if index.nulls_not_distinct:
        parts.append(sql.SQL("NULLS NOT DISTINCT"))
    if index.options:
        parts += [sql.SQL("WITH"), _list(index.options)]
    if index.tablespace is not None:
        parts += [sql.SQL("TABLESPACE"), sql.Identifier(index.tablespace)]
    if index.where is not None:
        parts += [sql.SQL("WHERE"), manifest_sql(index.where)]
    return sql.SQL(" ").join(parts)


def _list(items: Sequence[str]) -> sql.Composed:
    return sql.SQL("({})").format(sql.SQL(", ").join(map(manifest_sql, items)))


def create_clone(table: RelationName, clone: str, *, partition_key: str | None = None) -> sql.Composed:
    """An empty temporary table with the columns of `table`, gone at the end of the transaction.

    `partition_key` is that of a partitioned table, as pg_get_partkeydef() gives it.
    """
    like = sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {} INCLUDING GENERATED)").format(
        sql.Identifier(clone), qualified(table)
    )
    if partition_key is not None:
        like += sql.SQL(" PARTITION BY ") + manifest_sql(partition_key)
    return like + sql.SQL(" ON COMMIT DROP")


def drop_index(relation: RelationName, *, concurrently: bool = True) -> sql.Composed:
    """Return DROP INDEX, concurrently by default."""
    text = sql.SQL("DROP INDEX CONCURRENTLY {}") if concurrently else sql.SQL("DROP INDEX {}")
    return text.format(qualified(relation))


def rename_index(relation: RelationName, name: str) -> sql.Composed:
    """ALTER INDEX … RENAME, which locks the index and not its table."""
    return sql.SQL("ALTER INDEX {} RENAME TO {}").format(qualified(relation), sql.Identifier(name))


def attach_partition(parent: RelationName, child: RelationName) -> sql.Composed:
    """ALTER INDEX … ATTACH PARTITION, which accepts an INVALID child without a word."""
    return sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(qualified(parent), qualified(child))


def analyze(table: RelationName) -> sql.Composed:
    """ANALYZE of one table."""
    return sql.SQL("ANALYZE {}").format(qualified(table))


def explain(statement: sql.Composable) -> sql.Composed:
    """EXPLAIN of a statement as JSON with schema names, without running it."""
    return sql.SQL("EXPLAIN (FORMAT JSON, VERBOSE) {}").format(statement)


def as_text(statement: sql.Composable) -> str:
    """The statement as people read it."""
    return statement.as_string(None)
