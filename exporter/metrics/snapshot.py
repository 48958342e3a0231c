"""What one collection observed, as frozen data: the noun between collecting and rendering.

The catalogue's `field` names the attribute that a family publishes. Counts are plain numbers, times seconds
since the epoch, sizes bytes. None means "not known" and gives no sample; a whole part that is None was not
collected, and its outcome says why.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from exporter.model import DeclaredIndex, RelationName, ServerFacts
from exporter.postgres.builds.progress import BuildProgress
from exporter.postgres.counters.figures import Value
from exporter.postgres.counters.indexes import IndexRow
from exporter.postgres.counters.statements import StatementRow, StatementsInfo
from exporter.postgres.counters.tables import TableRow

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Watched(Generic[Row]):
    """Rows, and beside them their figures: `figures[column][n]` is of `rows[n]`.

    What a row says changes rarely and is read then, the figures at every collection: `rows` is the same
    object as in the snapshot before while nothing of it changed.
    """

    rows: tuple[Row, ...]
    figures: Mapping[str, Sequence[Value]]


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """What the journal says of the declared indexes.

    `canonical` are definitions by the index's name, `births` seconds since the epoch by its oid.
    """

    canonical: Mapping[RelationName, str]
    births: Mapping[int, float]


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
    journal: JournalFacts | None = None
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
