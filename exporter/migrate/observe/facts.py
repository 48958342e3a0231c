"""What the catalogue and the tables say of each declared index after a build, for `verify` to judge.

Bounded: what is locked, not permitted or too slow to know within the budget stays None or unproven.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import errors, sql

from exporter.model import IndexFacts, ObservedIndex, RelationName, ServerFacts
from exporter.postgres import ddl
from exporter.postgres.fetching import fetch
from exporter.postgres.queries import query_text
from exporter.postgres.target import Connection, bounded_read

# Before 15 a collector process writes the statistics of the tables to a file, at most twice a second.
LAST_COLLECTOR_VERSION_NUM = 149999
COLLECTOR_DELAY_SECONDS = 0.6

_NOT_KNOWABLE = (
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.InsufficientPrivilege,
    errors.UndefinedColumn,
    errors.UndefinedTable,
)


@dataclass(frozen=True, slots=True)
class _CatalogFacts:
    indisvalid: bool | None
    indisready: bool | None
    table_last_analyze: datetime | None
    proven_columns: list[str]


@dataclass(frozen=True, slots=True)
class _Sizes:
    size_bytes: int | None
    table_size_bytes: int | None
    table_pages: int | None


def read_index_facts(
    connection: Connection,
    facts: ServerFacts,
    observed: Sequence[ObservedIndex],
    *,
    budget_seconds: float,
) -> tuple[IndexFacts, ...]:
    """The facts of each observed index, in that order.

    Of a covered index they are those of the equal index that stands for it.
    Units: bytes, pages; the budget in seconds is shared by all.
    Raises: psycopg.Error when the connection breaks.
    """
    ends_at_seconds = time.monotonic() + budget_seconds
    if facts.server_version_num <= LAST_COLLECTOR_VERSION_NUM:
        time.sleep(COLLECTOR_DELAY_SECONDS)
    return tuple(_read(connection, facts, index, ends_at_seconds) for index in observed)


def _read(
    connection: Connection, facts: ServerFacts, observed: ObservedIndex, ends_at_seconds: float
) -> IndexFacts:
    declared = observed.declared
    oids = {"indexrelid": observed.indexrelid, "relid": observed.relid}
    columns = {"column_names": list(declared.not_null)}
    rows = fetch(connection, "declared_index_facts", _CatalogFacts, **oids, **columns)
    found = rows[0] if rows else _CatalogFacts(None, None, None, [])
    sizes = _read_sizes(connection, facts, oids, ends_at_seconds)
    nullable: list[str] = []
    unproven: list[str] = []
    for column in declared.not_null:
        if column not in found.proven_columns:
            null_exists = _read_null_exists(connection, facts, declared.table, column, ends_at_seconds)
            if null_exists is None:
                unproven.append(column)
            elif null_exists:
                nullable.append(column)
    return IndexFacts(
        observed=observed,
        indisvalid=found.indisvalid,
        indisready=found.indisready,
        size_bytes=sizes.size_bytes,
        table_size_bytes=sizes.table_size_bytes,
        table_pages=sizes.table_pages,
        table_last_analyze=found.table_last_analyze,
        nullable=tuple(nullable),
        unproven=tuple(unproven),
    )


def _read_sizes(
    connection: Connection, facts: ServerFacts, oids: dict[str, int | None], ends_at_seconds: float
) -> _Sizes:
    try:
        with bounded_read(connection, ends_at_seconds - time.monotonic()):
            return fetch(connection, "declared_index_sizes", _Sizes, **oids)[0]
    except _NOT_KNOWABLE:
        return _Sizes(None, None, None)


def _read_null_exists(
    connection: Connection,
    facts: ServerFacts,
    table: RelationName,
    column: str,
    ends_at_seconds: float,
) -> bool | None:
    """Whether the column holds a NULL; None when that cannot be known in time."""
    text = query_text("null_exists", server_version_num=facts.server_version_num)
    statement = sql.SQL(text).format(table=ddl.qualified(table), column=sql.Identifier(column))
    try:
        with bounded_read(connection, ends_at_seconds - time.monotonic()):
            ((null_exists,),) = ddl.run_single(connection, statement).fetchall()
            return bool(null_exists)
    except _NOT_KNOWABLE:
        return None
