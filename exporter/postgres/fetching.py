"""Typed rows from the query files: the connection knows which version answers.

Acts (sql/act) and reads whose answer is no list of rows take their text from `query_for`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, LiteralString, TypeVar

from psycopg import sql
from psycopg.rows import class_row

from exporter.model import ServerFacts
from exporter.postgres.queries import in_schema, query_text
from exporter.postgres.target import Connection

Row = TypeVar("Row")


def fetch(connection: Connection, what: str, row_type: type[Row], /, **parameters: object) -> list[Row]:
    """The rows of the query file `what`, one attribute per column."""
    return _rows(connection, query_for(connection, what), row_type, parameters)


def fetch_one(connection: Connection, what: str, row_type: type[Row], /, **parameters: object) -> Row | None:
    """The first row of the query file `what`, None without any."""
    rows = fetch(connection, what, row_type, **parameters)
    return rows[0] if rows else None


def fetch_wide(connection: Connection, what: str, row_type: type[Row], /, **parameters: object) -> list[Row]:
    """As `fetch`, for answers of very many values.

    They come in binary, and the statement is planned for these parameters, because a generic plan would
    expect few rows.
    """
    with connection.cursor(binary=True, row_factory=class_row(row_type)) as cursor:
        return cursor.execute(query_for(connection, what), parameters, prepare=False).fetchall()


def fetch_in_schema(
    connection: Connection, what: str, row_type: type[Row], schemaname: str, /, **parameters: object
) -> list[Row]:
    """As `fetch`, with `schemaname` for `{schema}` in the text."""
    text = query_for(connection, what)
    query = in_schema(text, schemaname, has_parameters=bool(parameters))
    return _rows(connection, query, row_type, parameters)


def fetch_from_extension(
    connection: Connection,
    what: str,
    row_type: type[Row],
    extversion: str,
    schemaname: str,
    /,
    **parameters: object,
) -> list[Row]:
    """As `fetch_in_schema`, with the file that fits the version of an extension."""
    text = query_text(what, server_version_num=connection.info.server_version, extension_version=extversion)
    query = in_schema(text, schemaname, has_parameters=bool(parameters))
    return _rows(connection, query, row_type, parameters)


def query_for(connection: Connection, what: str) -> LiteralString:
    """The text of the query file `what` that fits the server of the connection.

    Raises: TargetUnsupported when every file requires a newer version.
    """
    return query_text(what, server_version_num=connection.info.server_version)


def column_names(row_type: type[Any]) -> tuple[str, ...]:
    """The columns that a query must return to fill `row_type`."""
    return tuple(field.name for field in fields(row_type))


def read_facts(connection: Connection) -> ServerFacts:
    """What the server reports of itself: version, identity, role, extension."""
    (facts,) = fetch(connection, "server_facts", ServerFacts)
    return facts


def _rows(
    connection: Connection,
    query: LiteralString | sql.Composed,
    row_type: type[Row],
    parameters: Mapping[str, object],
) -> list[Row]:
    # Without parameters psycopg leaves every per cent sign of the text alone.
    with connection.cursor(row_factory=class_row(row_type)) as cursor:
        return cursor.execute(query, parameters or None).fetchall()
