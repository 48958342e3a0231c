"""What one collection found, as frozen data: the noun between collecting and rendering.

A row's attributes are the columns of its SQL file, and the catalogue's `field` names the attribute that a
family publishes. Counts are plain numbers, times seconds since the epoch, sizes bytes. None means "not
known" and gives no sample; a whole part that is None was not collected, and its outcome says why.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from exporter.model import DeclaredIndex, RelationName, ServerFacts
from exporter.postgres.builds.progress import BuildProgress

Row = TypeVar("Row")
Value = int | float | None


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One watched index: who it is and in which state.

    Source: pg_index, pg_class, pg_am, pg_constraint. `catalogue_version` changes with the index's catalogue
    rows. `parents` are the declared partitioned indexes that this one is a leaf of.
    """

    indexrelid: int
    relid: int
    schemaname: str
    relname: str
    indexname: str
    indisvalid: bool
    indisready: bool
    method: str
    indisunique: bool
    indisprimary: bool
    contype: str | None
    is_partial: bool
    is_expression: bool
    catalogue_version: str
    parents: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class TableRow:
    """One table of a watched index. Source: pg_class. `catalogue_version` changes with its row there."""

    relid: int
    schemaname: str
    relname: str
    catalogue_version: str


@dataclass(frozen=True, slots=True)
class Watched(Generic[Row]):
    """Rows, and beside them their figures: `figures[column][n]` is of `rows[n]`.

    What a row says changes rarely and is read then, the figures at every collection: `rows` is the same
    object as in the snapshot before while nothing of it changed.
    """

    rows: tuple[Row, ...]
    figures: Mapping[str, Sequence[Value]]


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
class StatementsInfo:
    """Source: pg_stat_statements_info (extension 1.9)."""

    dealloc: int
    stats_reset: float | None


@dataclass(frozen=True, slots=True)
class CollectorOutcome:
    """How one collector of one database ended; `reason` says why it failed, `hint` what to do."""

    collector: str
    success: bool
    duration_seconds: float | None
    last_success: float | None
    reason: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class DatabaseSnapshot:
    """Everything known of one database at one moment.

    `sizes` are bytes by the oid of an index or a table, `query_texts` are by queryid, `observed_since` are
    seconds since the epoch by the oid of an index. `locked` are the oids of all relations under
    AccessExclusiveLock.
    """

    datname: str
    up: bool
    declared: tuple[DeclaredIndex, ...]
    outcomes: tuple[CollectorOutcome, ...]
    facts: ServerFacts | None = None
    walsenders: int | None = None
    indexes: Watched[IndexRow] | None = None
    indexes_cut: int | None = None
    tables: Watched[TableRow] | None = None
    builds: tuple[BuildProgress, ...] | None = None
    observed_since: Mapping[int, float] = field(default_factory=dict)
    locked: Collection[int] | None = None
    definition_matches: Mapping[RelationName, bool] = field(default_factory=dict)
    sizes: Mapping[int, int] = field(default_factory=dict)
    statements: tuple[StatementRow, ...] | None = None
    statements_cut: int | None = None
    statements_info: StatementsInfo | None = None
    query_texts: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExporterFacts:
    """What the exporter knows of itself; `config_last_success` in seconds since the epoch."""

    version: str
    python_version: str
    config_is_current: bool
    config_last_success: float


@dataclass(frozen=True, slots=True)
class TargetSnapshot:
    """Everything known of one target at one moment. Units: seconds.

    Where patterns mean its databases, `discovery` says how asking for them ended, in which database that was
    (or would have been), and how many of them are left out.
    """

    name: str
    databases: tuple[DatabaseSnapshot, ...]
    scrape_duration_seconds: float
    discovery: CollectorOutcome | None = None
    maintenance_datname: str = ""
    databases_cut: int | None = None

    @property
    def up(self) -> bool:
        """True when every database answered, and the server said which there are where it was asked."""
        is_known = self.discovery is None or self.discovery.success
        return is_known and all(database.up for database in self.databases)
