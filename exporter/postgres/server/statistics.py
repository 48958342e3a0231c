"""What a server says of its standbys, its log, and since when its counters count."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.postgres.fetching import fetch
from exporter.postgres.requests import Request, ask
from exporter.postgres.target import Connection


@dataclass(frozen=True, slots=True)
class Walsenders:
    """How many standbys stream, None where we may not know; `hidden` connections are those we may not see.

    Source: pg_stat_get_wal_senders(), pg_replication_slots.
    """

    walsenders: int | None
    hidden: int


@dataclass(frozen=True, slots=True)
class CountersEpoch:
    """Since when the counters of a database count. Units: seconds since the epoch, by the server's clock.

    Source: pg_stat_database.stats_reset, and stats_reset of pg_stat_bgwriter, pg_stat_archiver, pg_stat_wal,
    pg_stat_slru and, since 17, pg_stat_checkpointer.
    """

    server_time: float
    counters_since: float | None


@dataclass(frozen=True, slots=True)
class WalPosition:
    """Where the server's log ends. Units: bytes. Source: pg_current_wal_insert_lsn()."""

    position_bytes: int | None


WALSENDERS = Request("walsenders", Walsenders)
COUNTERS_EPOCH = Request("epoch", CountersEpoch)


def read_wal_position(connection: Connection) -> int | None:
    """Where the server's log ends, in bytes since its beginning; None on a standby."""
    return fetch(connection, "wal_position", WalPosition)[0].position_bytes


def wal_bytes_since(connection: Connection, position_bytes: int | None) -> int | None:
    """What the whole server wrote to its log since that position, None when it is not known."""
    now_bytes = read_wal_position(connection)
    if position_bytes is None or now_bytes is None or now_bytes < position_bytes:
        return None
    return now_bytes - position_bytes


def read_walsenders(connection: Connection) -> Walsenders:
    """How many standbys stream from this server."""
    return ask(connection, WALSENDERS)[0]


def read_epoch(connection: Connection) -> CountersEpoch:
    """Since when the counters of this database count."""
    return ask(connection, COUNTERS_EPOCH)[0]
