"""Which databases a target has, and which of them its patterns mean."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase

from exporter.model import Database, DatabasePattern, Target
from exporter.postgres.fetching import fetch
from exporter.postgres.target import Connection, SessionLimits, connect, mapped_errors


@dataclass(frozen=True, slots=True)
class DatabaseRow:
    """Source: pg_database. The name is in bytes: one server may hold names in several encodings."""

    oid: int
    datname: bytes


def read_databases(connection: Connection) -> dict[str, int]:
    """The oids of the databases that take connections and are no templates, by their names, in order."""
    rows = fetch(connection, "databases", DatabaseRow)
    # A name that is not UTF-8 cannot be asked for: it stays visible and down.
    return {row.datname.decode("utf-8", "replace"): row.oid for row in rows}


def match_databases(target: Target, datnames: Collection[str]) -> tuple[Database, ...]:
    """The databases of `datnames` that a pattern of the target takes.

    The first pattern that matches a name decides; one that the settings name belongs to no pattern.
    """
    if target.maintenance is None:
        return ()
    named = {database.datname for database in target.databases}
    found: list[Database] = []
    for datname in datnames:
        pattern = next((pattern for pattern in target.patterns if _takes(pattern, datname)), None)
        if pattern is not None and datname not in named:
            conninfo = target.maintenance.conninfo
            found.append(Database(datname, conninfo, pattern.manifests, pattern.watch))
    return tuple(found)


def find_databases(target: Target, *, limits: SessionLimits | None = None) -> tuple[Database, ...]:
    """The databases with a name and those that match the patterns now; asks the server where there are any.

    Raises: TargetError.
    """
    if target.maintenance is None:
        return target.databases
    with mapped_errors(target.maintenance), closing(connect(target.maintenance, limits=limits)) as connection:
        return (*target.databases, *match_databases(target, read_databases(connection)))


def _takes(pattern: DatabasePattern, datname: str) -> bool:
    if any(fnmatchcase(datname, excluded) for excluded in pattern.exclude):
        return False
    return fnmatchcase(datname, pattern.pattern)
