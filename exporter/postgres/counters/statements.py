"""What pg_stat_statements counted in a database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.postgres.requests import Request


@dataclass(frozen=True, slots=True)
class StatementsExtension:
    """Where pg_stat_statements is installed. Source: pg_extension."""

    extversion: str
    schemaname: str


@dataclass(frozen=True, slots=True)
class StatementRow:
    """One entry of pg_stat_statements.

    `queryid` is None for an entry of another role that we may not read; `toplevel` is None before version
    1.9 of the extension. Units: seconds; blocks.
    """

    user: str
    queryid: int | None
    toplevel: bool | None
    calls: int
    exec_seconds: float
    plan_seconds: float
    rows: int
    shared_blks_hit: int
    shared_blks_read: int
    shared_blks_dirtied: int
    shared_blks_written: int
    temp_blks_read: int
    temp_blks_written: int


@dataclass(frozen=True, slots=True)
class StatementText:
    """Source: pg_stat_statements.query; None when the server lost its file of texts."""

    queryid: int
    query: str | None


@dataclass(frozen=True, slots=True)
class StatementsInfo:
    """Evictions and the last reset. Source: pg_stat_statements_info (extension 1.9)."""

    dealloc: int
    stats_reset: float | None


# No row where the extension is not in this database.
STATEMENTS_EXTENSION = Request("statements_extension", StatementsExtension)


def statements(extension: StatementsExtension, rejected: Iterable[int]) -> Request[StatementRow]:
    """The statements of this database, without texts and without the rejected ones."""
    return Request(
        "statements",
        StatementRow,
        {"rejected": list(rejected)},
        schemaname=extension.schemaname,
        extversion=extension.extversion,
    )


def statement_texts(extension: StatementsExtension, queryids: Iterable[int]) -> Request[StatementText]:
    """The text of each statement that still exists."""
    return Request(
        "statement_texts",
        StatementText,
        {"queryids": list(queryids)},
        schemaname=extension.schemaname,
        extversion=extension.extversion,
    )


def statements_info(extension: StatementsExtension) -> Request[StatementsInfo]:
    """Evictions and the last reset; asking raises TargetUnsupported before version 1.9 of the extension."""
    return Request(
        "statements_info", StatementsInfo, schemaname=extension.schemaname, extversion=extension.extversion
    )
