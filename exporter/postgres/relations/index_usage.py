"""How often indexes were scanned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from exporter.postgres.fetching import fetch
from exporter.postgres.target import Connection


@dataclass(frozen=True, slots=True)
class IndexScans:
    """The scans of an index, of all partitions where it has some.

    Source: pg_stat_get_numscans(), pg_stat_get_lastscan() (16), as in pg_stat_user_indexes.
    """

    indexrelid: int
    idx_scan: int | None
    last_idx_scan: datetime | None


def read_index_scans(connection: Connection, indexrelids: Sequence[int]) -> dict[int, IndexScans]:
    """The scans of each index that exists, by its oid."""
    rows = fetch(connection, "index_usage", IndexScans, indexrelids=list(indexrelids))
    return {row.indexrelid: row for row in rows}
