"""What the catalogue and the tables say of each declared index after a build, for `verify` to judge.

Bounded: what is locked, not permitted or too slow to know within the budget stays None or unproven.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from psycopg import errors

from exporter.model import IndexFacts, ObservedIndex
from exporter.postgres.relations.index_facts import (
    IndexSizes,
    read_index_row,
    read_index_sizes,
    read_null_exists,
)
from exporter.postgres.target import Connection

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


def read_index_facts(
    connection: Connection, observed: Sequence[ObservedIndex], *, budget_seconds: float
) -> tuple[IndexFacts, ...]:
    """The facts of each observed index, in that order; of a covered one, those of the equal index.

    Units: bytes, pages; all indexes share the budget, in seconds.
    Raises: psycopg.Error when the connection breaks.
    """
    ends_at_seconds = time.monotonic() + budget_seconds
    if connection.info.server_version <= LAST_COLLECTOR_VERSION_NUM:
        time.sleep(COLLECTOR_DELAY_SECONDS)
    return tuple(_read(connection, index, ends_at_seconds) for index in observed)


def _read(connection: Connection, observed: ObservedIndex, ends_at_seconds: float) -> IndexFacts:
    declared = observed.declared
    row = read_index_row(connection, observed.indexrelid, observed.relid, declared.not_null)
    sizes = IndexSizes(None, None, None)
    with suppress(*_NOT_KNOWABLE):
        budget_seconds = ends_at_seconds - time.monotonic()
        sizes = read_index_sizes(
            connection, observed.indexrelid, observed.relid, budget_seconds=budget_seconds
        )
    nullable: list[str] = []
    unproven: list[str] = []
    for column in declared.not_null:
        if column in row.proven_columns:
            continue
        try:
            budget_seconds = ends_at_seconds - time.monotonic()
            if read_null_exists(connection, declared.table, column, budget_seconds=budget_seconds):
                nullable.append(column)
        except _NOT_KNOWABLE:
            unproven.append(column)
    return IndexFacts(
        observed=observed,
        indisvalid=row.indisvalid,
        indisready=row.indisready,
        size_bytes=sizes.size_bytes,
        table_size_bytes=sizes.table_size_bytes,
        table_pages=sizes.table_pages,
        table_last_analyze=row.table_last_analyze,
        nullable=tuple(nullable),
        unproven=tuple(unproven),
    )
