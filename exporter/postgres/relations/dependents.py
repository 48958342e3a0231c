"""What depends on an index that is to be dropped, and whether it is used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from exporter.postgres.fetching import fetch
from exporter.postgres.target import Connection


@dataclass(frozen=True, slots=True)
class DroppedIndexFacts:
    """An index that is to be dropped.

    `constraint_name` is the primary key, unique or exclusion constraint made of it; `referenced_by` are the
    foreign keys that refer to it, `supports` those of its own table that have no other index; `parent` is the
    partitioned index that it is a part of. `idx_scan` is None without storage.
    Units: scans, seconds since the epoch.
    Source: pg_index, pg_constraint, pg_inherits, pg_stat_user_indexes.idx_scan, last_idx_scan (16).
    """

    indexrelid: int
    is_owner: bool
    owner_name: str
    constraint_name: str | None
    referenced_by: Sequence[str]
    is_replica_identity: bool
    is_clustered: bool
    parent: str | None
    supports: Sequence[str]
    idx_scan: int | None
    last_idx_scan: float | None


def read_dropped_index_facts(
    connection: Connection, indexrelids: Collection[int]
) -> dict[int, DroppedIndexFacts]:
    """Return the facts of each of these indexes that exists, by its oid."""
    rows = fetch(connection, "dropped_index_facts", DroppedIndexFacts, indexrelids=list(indexrelids))
    return {row.indexrelid: row for row in rows}
