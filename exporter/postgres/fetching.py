"""Typed rows from the query files: the connection knows which version answers.

Acts (sql/act) and reads whose answer is no list of rows take their text from `query_for`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, LiteralString

from exporter.model import ServerFacts
from exporter.postgres.queries import query_text
from exporter.postgres.requests import Request, Row, ask
from exporter.postgres.target import Connection

SERVER_FACTS = Request("server_facts", ServerFacts)


def fetch(connection: Connection, what: str, row_type: type[Row], /, **parameters: object) -> list[Row]:
    """The rows of the query file `what`, one attribute per column."""
    return ask(connection, Request(what, row_type, parameters))


def fetch_one(connection: Connection, what: str, row_type: type[Row], /, **parameters: object) -> Row | None:
    """The first row of the query file `what`, None without any."""
    rows = fetch(connection, what, row_type, **parameters)
    return rows[0] if rows else None


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
    (facts,) = ask(connection, SERVER_FACTS)
    return facts
