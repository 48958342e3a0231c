"""Reads as data: which query file is asked, with which parameters, and the rows that it returns.

A request is made without a connection, so that several can be sent together (`pipeline`) or alone (`ask`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, LiteralString, TypeVar

from psycopg import sql
from psycopg.rows import class_row

from exporter.errors import TargetUnsupported
from exporter.postgres.queries import in_schema, query_text
from exporter.postgres.target import Connection

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, eq=False)
class Request(Generic[Row]):
    """One read of a query file.

    `schemaname` replaces `{schema}` in its text, `extversion` selects the file by an extension's version.
    `is_wide`: the answer holds very many values. They come in binary, and the statement is planned for these
    parameters, because a generic plan would expect few rows.
    """

    what: str
    row_type: type[Row]
    parameters: Mapping[str, object] = field(default_factory=dict)
    schemaname: str | None = None
    extversion: str | None = None
    is_wide: bool = False

    def query(self, server_version_num: int) -> LiteralString | sql.Composed:
        """The text for a server of that version, with psycopg's named placeholders.

        Raises: TargetUnsupported when every file requires a newer version.
        """
        text = query_text(self.what, server_version_num=server_version_num, extension_version=self.extversion)
        if self.schemaname is None:
            return text
        return _in_schema(text, self.schemaname, bool(self.parameters))

    def is_supported(self, server_version_num: int) -> bool:
        """True when there is a file for a server of that version, and for the extension's."""
        try:
            self.query(server_version_num)
        except TargetUnsupported:
            return False
        return True


def ask(connection: Connection, request: Request[Row]) -> list[Row]:
    """Return the rows that answer the request, in its own round trip."""
    query = request.query(connection.info.server_version)
    with connection.cursor(binary=request.is_wide, row_factory=class_row(request.row_type)) as cursor:
        prepare = False if request.is_wide else None
        # Without parameters psycopg leaves every per cent sign of the text alone.
        return cursor.execute(query, request.parameters or None, prepare=prepare).fetchall()


@lru_cache(maxsize=64)
def _in_schema(text: LiteralString, schemaname: str, has_parameters: bool) -> sql.Composed:
    return in_schema(text, schemaname, has_parameters=has_parameters)
