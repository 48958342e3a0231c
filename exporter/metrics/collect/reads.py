"""The reads of the serve line, one function per SQL file, each giving typed rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import psycopg

from exporter.metrics.collect.patterns import Watch, watch_pattern
from exporter.metrics.snapshot import IndexRow, StatementRow, StatementsInfo, TableRow, Value
from exporter.model import RelationName
from exporter.postgres.fetching import fetch, fetch_from_extension, fetch_in_schema, fetch_wide
from exporter.postgres.journal import JournalRelation
from exporter.postgres.target import Connection

# From here on planning a statement anew costs less than a plan that expects few rows.
MANY_TABLES = 100


@dataclass(frozen=True, slots=True)
class StatementsExtension:
    """Where pg_stat_statements is installed. Source: pg_extension."""

    extversion: str
    schemaname: str


@dataclass(frozen=True, slots=True)
class CommitTime:
    """When an index's catalogue row was committed. Source: pg_xact_commit_timestamp(pg_index.xmin)."""

    indexrelid: int
    committed_at: float | None


@dataclass(frozen=True, slots=True)
class JournalBirth:
    """When this tool saw an index stand that it built. Source: migration_events (our table)."""

    indexrelid: int
    built_at: float


@dataclass(frozen=True, slots=True)
class IndexFigures:
    """The figures of all watched indexes, each a list in the order of `oids`; None without any index.

    Units: seconds since the epoch; blocks.
    Source: the functions behind pg_stat_user_indexes and pg_statio_user_indexes; last_idx_scan since 16.
    """

    oids: list[int] | None
    fingerprint: list[int | None]
    idx_scan: list[int | None] | None
    idx_tup_read: list[int | None] | None
    idx_tup_fetch: list[int | None] | None
    last_idx_scan: list[float | None] | None
    idx_blks_read: list[int | None] | None
    idx_blks_hit: list[int | None] | None


@dataclass(frozen=True, slots=True)
class TableFigures:
    """The figures of all tables of watched indexes, as IndexFigures.

    Units: seconds since the epoch; estimated rows.
    Source: the functions behind pg_stat_user_tables.
    """

    oids: list[int] | None
    fingerprint: list[int | None]
    seq_scan: list[int | None] | None
    seq_tup_read: list[int | None] | None
    idx_scan: list[int | None] | None
    n_tup_ins: list[int | None] | None
    n_tup_upd: list[int | None] | None
    n_tup_hot_upd: list[int | None] | None
    n_tup_del: list[int | None] | None
    n_live_tup: list[int | None] | None
    n_mod_since_analyze: list[int | None] | None
    last_analyze: list[float | None] | None
    last_autoanalyze: list[float | None] | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Columns of figures, each in the order of `oids`; another fingerprint: what the rows say has changed."""

    oids: Sequence[int]
    fingerprint: Sequence[int | None]
    columns: Mapping[str, Sequence[Value]]


@dataclass(frozen=True, slots=True)
class LockedRelation:
    """A relation under AccessExclusiveLock. Source: pg_locks."""

    relid: int


@dataclass(frozen=True, slots=True)
class IndexCount:
    """How many undeclared indexes are watched. Source: pg_class."""

    indexes: int


@dataclass(frozen=True, slots=True)
class RelationSize:
    """Size of an index or a table; None without storage. Units: bytes."""

    relid: int
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class IndexDefinition:
    """Source: pg_get_indexdef(indexrelid)."""

    indexrelid: int
    definition: str


@dataclass(frozen=True, slots=True)
class JournalDefinition:
    """The canonical definition of a declared index. Source: migration_events (our table)."""

    name: str
    index_name: str
    definition: str


@dataclass(frozen=True, slots=True)
class StatementText:
    """Source: pg_stat_statements.query; None when the server lost its file of texts."""

    queryid: int
    query: str | None


def read_commit_times(connection: Connection, indexrelids: Iterable[int]) -> dict[int, float]:
    """When each index was committed, by oid, for those of which the server still knows it."""
    try:
        rows = fetch(connection, "commit_times", CommitTime, indexrelids=list(indexrelids))
    except psycopg.errors.ObjectNotInPrerequisiteState:
        # A standby keeps them if its primary does, whatever its own setting says.
        return {}
    return {row.indexrelid: row.committed_at for row in rows if row.committed_at is not None}


def read_index_figures(
    connection: Connection, declared: Collection[RelationName], watch: Watch, max_indexes: int
) -> Figures:
    """Of the declared indexes that exist, and of at most `max_indexes` others, the oldest watched."""
    watches_others = bool(watch) and watch != "declared"
    (row,) = (fetch_wide if watches_others else fetch)(
        connection,
        "index_figures",
        IndexFigures,
        **_names(declared),
        watch=watches_others,
        pattern=watch_pattern(watch),
        max_indexes=max_indexes,
    )
    return _figures(row)


def read_index_rows(
    connection: Connection, declared: Collection[RelationName], indexrelids: Sequence[int]
) -> dict[int, IndexRow]:
    """Who these indexes are, by oid."""
    rows = fetch_wide(connection, "index_identities", IndexRow, **_names(declared), indexrelids=indexrelids)
    return {row.indexrelid: row for row in rows}


def count_indexes(connection: Connection, declared: Collection[RelationName], watch: Watch) -> int:
    """How many indexes that are not declared match what is watched."""
    rows = fetch(connection, "index_count", IndexCount, **_names(declared), pattern=watch_pattern(watch))
    return rows[0].indexes


def read_table_figures(
    connection: Connection, relids: Sequence[int], declared: Collection[RelationName]
) -> Figures:
    """Of the tables of these oids and of these names, as far as they exist."""
    (row,) = (fetch_wide if len(relids) >= MANY_TABLES else fetch)(
        connection,
        "table_figures",
        TableFigures,
        relids=relids,
        schemanames=[table.schemaname for table in declared],
        relnames=[table.relname for table in declared],
    )
    return _figures(row)


def read_table_rows(connection: Connection, relids: Sequence[int]) -> dict[int, TableRow]:
    """Who these tables are, by oid."""
    rows = fetch_wide(connection, "table_identities", TableRow, relids=relids)
    return {row.relid: row for row in rows}


def read_locked(connection: Connection) -> frozenset[int]:
    """The oids of all relations that somebody holds, or waits for, an AccessExclusiveLock on."""
    rows = fetch(connection, "locked_relations", LockedRelation)
    return frozenset(row.relid for row in rows)


def read_sizes(connection: Connection, relids: Iterable[int]) -> list[RelationSize]:
    """The size of each relation that is not locked against it."""
    return fetch(connection, "relation_sizes", RelationSize, relids=list(relids))


def read_definitions(connection: Connection, indexrelids: Iterable[int]) -> dict[int, str]:
    """The definition of each index that is not locked against it, by oid."""
    rows = fetch(connection, "index_definitions", IndexDefinition, indexrelids=list(indexrelids))
    return {row.indexrelid: row.definition for row in rows}


def read_journal_relations(connection: Connection, journal_schema: str) -> list[JournalRelation]:
    """The relations that bear the journal's names."""
    return fetch(connection, "journal_relations", JournalRelation, schemaname=journal_schema)


def read_journal_definitions(
    connection: Connection, journal_schema: str, migrations: Iterable[str]
) -> list[JournalDefinition]:
    """The canonical definitions that the journal holds for these migrations."""
    return fetch_in_schema(
        connection, "journal_definitions", JournalDefinition, journal_schema, names=list(migrations)
    )


def read_journal_births(
    connection: Connection, journal_schema: str, migrations: Iterable[str]
) -> dict[int, float]:
    """When each index stood that these migrations built, by oid."""
    rows = fetch_in_schema(connection, "journal_births", JournalBirth, journal_schema, names=list(migrations))
    return {row.indexrelid: row.built_at for row in rows}


def read_statements_extension(connection: Connection) -> StatementsExtension | None:
    """Where pg_stat_statements is in this database, None when it is not."""
    rows = fetch(connection, "statements_extension", StatementsExtension)
    return rows[0] if rows else None


def read_statements(
    connection: Connection, extension: StatementsExtension, rejected: Iterable[int]
) -> list[StatementRow]:
    """The statements of this database, without texts and without the rejected ones."""
    return fetch_from_extension(
        connection,
        "statements",
        StatementRow,
        extension.extversion,
        extension.schemaname,
        rejected=list(rejected),
    )


def read_statement_texts(
    connection: Connection, extension: StatementsExtension, queryids: Iterable[int]
) -> dict[int, str | None]:
    """The text of each statement that still exists."""
    rows = fetch_from_extension(
        connection,
        "statement_texts",
        StatementText,
        extension.extversion,
        extension.schemaname,
        queryids=list(queryids),
    )
    return {row.queryid: row.query for row in rows}


def read_statements_info(connection: Connection, extension: StatementsExtension) -> StatementsInfo:
    """Evictions and the last reset.

    Raises: TargetUnsupported before version 1.9 of the extension.
    """
    rows = fetch_from_extension(
        connection, "statements_info", StatementsInfo, extension.extversion, extension.schemaname
    )
    return rows[0]


def _figures(row: IndexFigures | TableFigures) -> Figures:
    names = [field.name for field in fields(row) if field.name not in ("oids", "fingerprint")]
    columns: dict[str, Sequence[Value]] = {name: getattr(row, name) or () for name in names}
    return Figures(row.oids or (), row.fingerprint, columns)


def _names(relations: Collection[RelationName]) -> dict[str, object]:
    return {
        "schemanames": [relation.schemaname for relation in relations],
        "indexnames": [relation.relname for relation in relations],
    }


def _version(connection: Connection) -> int:
    return connection.info.server_version
