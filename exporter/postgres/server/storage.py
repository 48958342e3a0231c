"""Where builds put their files, how large and how old their tables are."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from exporter.postgres.fetching import fetch
from exporter.postgres.target import Connection

_IDENTIFIER = re.compile(r'"(?P<quoted>(?:[^"]|"")*)"|(?P<bare>[^",\s]+)')


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """The settings that decide how much space a build takes and where; None is no limit.

    Units: bytes. Source: pg_settings, pg_database (14).
    """

    maintenance_work_mem_bytes: int
    temp_file_limit_bytes: int | None
    max_slot_wal_keep_size_bytes: int | None
    dattablespace: str
    default_tablespace: str
    temp_tablespaces: str

    @property
    def temporary_tablespaces(self) -> tuple[str, ...]:
        """The names in `temp_tablespaces`; an empty one is that of the database."""
        return tuple(
            match["bare"].lower() if match["bare"] else match["quoted"].replace('""', '"')
            for match in _IDENTIFIER.finditer(self.temp_tablespaces)
        )


@dataclass(frozen=True, slots=True)
class TablespaceFacts:
    """A tablespace. `is_default` where it is the database's own. Source: pg_tablespace (14)."""

    oid: int
    spcname: str
    may_create: bool
    is_default: bool


@dataclass(frozen=True, slots=True)
class TableAge:
    """Size and age of a table with its TOAST table. Units: bytes, transactions, multixacts.

    Source: pg_class, pg_relation_size() (14).
    """

    relid: int
    heap_bytes: int
    xid_age: int | None
    mxid_age: int | None
    freeze_max_age: int
    multixact_freeze_max_age: int


@dataclass(frozen=True, slots=True)
class WraparoundFacts:
    """Age of the database and the server's own marks.

    Units: transactions, multixacts. Source: pg_database, pg_settings (14).
    """

    xid_age: int
    mxid_age: int
    freeze_max_age: int
    multixact_freeze_max_age: int
    failsafe_age: int
    multixact_failsafe_age: int


def read_storage(connection: Connection) -> StorageFacts:
    """The settings of this session."""
    (facts,) = fetch(connection, "storage_facts", StorageFacts)
    return facts


def read_tablespaces(connection: Connection, names: Collection[str]) -> dict[str, TablespaceFacts]:
    """Those of the names that exist, and pg_default, by name."""
    rows = fetch(connection, "tablespace_facts", TablespaceFacts, spcnames=list(names))
    return {row.spcname: row for row in rows}


def read_table_ages(connection: Connection, relids: Collection[int]) -> dict[int, TableAge]:
    """Size and age of each of the tables, by oid. Raises: psycopg.Error when one is locked for too long."""
    rows = fetch(connection, "table_ages", TableAge, relids=list(relids))
    return {row.relid: row for row in rows}


def read_wraparound(connection: Connection) -> WraparoundFacts:
    """How far the database is from wraparound."""
    (facts,) = fetch(connection, "wraparound_facts", WraparoundFacts)
    return facts
