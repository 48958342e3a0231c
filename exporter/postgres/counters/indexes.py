"""The watched indexes of a database: who they are and what their counters say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from exporter.model import RelationName
from exporter.postgres.counters.figures import Figures
from exporter.postgres.counters.watch_pattern import Watch, watch_pattern
from exporter.postgres.requests import Request


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

    @property
    def figures(self) -> Figures:
        """The same as columns."""
        columns = {
            "idx_scan": self.idx_scan or (),
            "idx_tup_read": self.idx_tup_read or (),
            "idx_tup_fetch": self.idx_tup_fetch or (),
            "last_idx_scan": self.last_idx_scan or (),
            "idx_blks_read": self.idx_blks_read or (),
            "idx_blks_hit": self.idx_blks_hit or (),
        }
        return Figures(self.oids or (), self.fingerprint, columns)


@dataclass(frozen=True, slots=True)
class IndexCount:
    """How many undeclared indexes are watched. Source: pg_class."""

    indexes: int


@dataclass(frozen=True, slots=True)
class CommitTime:
    """When an index's catalogue row was committed. Source: pg_xact_commit_timestamp(pg_index.xmin)."""

    indexrelid: int
    committed_at: float | None


@dataclass(frozen=True, slots=True)
class IndexDefinition:
    """Source: pg_get_indexdef(indexrelid)."""

    indexrelid: int
    definition: str


def index_figures(
    declared: Collection[RelationName], watch: Watch, max_indexes: int
) -> Request[IndexFigures]:
    """Of the declared indexes that exist, and of at most `max_indexes` others, the oldest watched."""
    watches_others = bool(watch) and watch != "declared"
    parameters = {
        **_names(declared),
        "watch": watches_others,
        "pattern": watch_pattern(watch),
        "max_indexes": max_indexes,
    }
    return Request("index_figures", IndexFigures, parameters, is_wide=watches_others)


def index_rows(declared: Collection[RelationName], indexrelids: Sequence[int]) -> Request[IndexRow]:
    """Who these indexes are."""
    parameters = {**_names(declared), "indexrelids": list(indexrelids)}
    return Request("index_identities", IndexRow, parameters, is_wide=True)


def index_count(declared: Collection[RelationName], watch: Watch) -> Request[IndexCount]:
    """How many indexes that are not declared match what is watched."""
    return Request("index_count", IndexCount, {**_names(declared), "pattern": watch_pattern(watch)})


def commit_times(indexrelids: Iterable[int]) -> Request[CommitTime]:
    """When each index was committed."""
    return Request("commit_times", CommitTime, {"indexrelids": list(indexrelids)})


def index_definitions(indexrelids: Iterable[int]) -> Request[IndexDefinition]:
    """The definition of each index that is not locked against it."""
    return Request("index_definitions", IndexDefinition, {"indexrelids": list(indexrelids)})


def _names(relations: Collection[RelationName]) -> dict[str, object]:
    return {
        "schemanames": [relation.schemaname for relation in relations],
        "indexnames": [relation.relname for relation in relations],
    }
