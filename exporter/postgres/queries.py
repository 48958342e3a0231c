"""The reads and acts of sql/ by name, each the newest file that fits the server.

A file is `<what>.<min_pg>.sql` (the first major version it fits) or `<what>.ext<version>.sql` (the
first version of the extension it fits). The list of file names decides, nothing else. Where versions
differ in a line or two, one file holds both: a line that ends with `-- from 16` is for PostgreSQL 16 and
newer, one that ends with `-- before 16` for older servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import LiteralString, cast

from psycopg import sql

from exporter.errors import TargetUnsupported

_OF_SOME_VERSIONS = re.compile(r"  -- (?P<side>from|before) (?P<major>[0-9]+)$")
_FILE_NAME = re.compile(r"(?P<what>[a-z_]+)\.(?P<by>ext)?(?P<version>[0-9]+(\.[0-9]+)?)\.sql")


@dataclass(frozen=True, slots=True)
class Query:
    """One SQL file. `minimum` is a server version such as (16,) or an extension's such as (1, 11)."""

    what: str
    by_extension: bool
    minimum: tuple[int, ...]
    text: LiteralString


def query_text(what: str, *, server_version_num: int, extension_version: str | None = None) -> LiteralString:
    """The text of the newest file called `what` that fits the server, or the extension where that decides.

    Raises: TargetUnsupported when every file requires a newer version.
    """
    files_of_query = all_queries()[what]
    major = server_version_num // 10000
    have = _version(extension_version or "0") if files_of_query[0].by_extension else (major,)
    for query in files_of_query:
        if query.minimum <= have:
            return lines_for(query.text, major)
    wanted = ".".join(map(str, files_of_query[-1].minimum))
    raise TargetUnsupported(
        f"{what} requires version {wanted} or newer, the server has {'.'.join(map(str, have))}",
        hint="upgrade the server or the extension (ALTER EXTENSION … UPDATE)",
    )


@cache
def lines_for(text: LiteralString, major: int) -> LiteralString:
    """The lines of a query file that are for this major version."""
    return "\n".join(line for line in text.splitlines() if _is_for(line, major))


def _is_for(line: str, major: int) -> bool:
    match = _OF_SOME_VERSIONS.search(line)
    return match is None or (match["side"] == "from") == (major >= int(match["major"]))


def in_schema(text: LiteralString, schemaname: str, *, has_parameters: bool) -> sql.Composed:
    """The query with `schemaname` for its `{schema}`.

    With parameters psycopg interprets every per cent sign, in names too.
    """
    name = schemaname.replace("%", "%%") if has_parameters else schemaname
    return sql.SQL(text).format(schema=sql.Identifier(name))


def script_text(name: str) -> str:
    """The template of a part of the psql script; `{name}` is replaced."""
    return files("exporter.postgres").joinpath("sql", "script", f"{name}.psql").read_text(encoding="utf-8")


@cache
def all_queries() -> dict[str, tuple[Query, ...]]:
    """Every SQL file by its name, newest first."""
    ladders: dict[str, list[Query]] = {}
    for folder in ("read", "act"):
        for entry in _sql_files(files("exporter.postgres").joinpath("sql", folder)):
            match = _FILE_NAME.fullmatch(entry.name)
            if match is None:
                raise ValueError(f"sql/{folder}/{entry.name} is not named <what>.<version>.sql")
            # The files ship with the package and hold no text of a user: the one cast of this room.
            text = cast(LiteralString, entry.read_text(encoding="utf-8"))
            query = Query(match["what"], match["by"] is not None, _version(match["version"]), text)
            ladders.setdefault(query.what, []).append(query)
    return {
        what: tuple(sorted(rungs, key=lambda query: query.minimum, reverse=True))
        for what, rungs in ladders.items()
    }


def _sql_files(folder: Traversable) -> Iterator[Traversable]:
    return (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
