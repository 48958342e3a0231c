"""Who else needs this server's WAL: slots that hold it back, standbys that replay it, the archive."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.postgres.fetching import fetch
from exporter.postgres.target import Connection


@dataclass(frozen=True, slots=True)
class ReplicationSlot:
    """A slot and the WAL that it holds back. Units: bytes. Source: pg_replication_slots (14)."""

    slot_name: str
    slot_type: str
    active: bool
    wal_status: str | None
    safe_wal_size_bytes: int | None
    retained_bytes: int | None


@dataclass(frozen=True, slots=True)
class ReplicationLag:
    """A standby or subscriber. `state` is None where we may not see it.

    Units: bytes, seconds. Source: pg_stat_replication (14).
    """

    pid: int
    application_name: str | None
    state: str | None
    sync_state: str | None
    replay_lag_bytes: int | None
    replay_lag_seconds: float | None


@dataclass(frozen=True, slots=True)
class ArchiverFacts:
    """What archiving has come to. Units: seconds since the epoch. Source: pg_stat_archiver (14)."""

    archive_mode: str
    failed_count: int
    last_failed_wal: str | None
    last_archived_time: float | None
    last_failed_time: float | None
    clock_timestamp: float

    @property
    def is_failing(self) -> bool:
        """True when the latest attempt failed: the server keeps all WAL since."""
        if self.archive_mode == "off" or self.last_failed_time is None:
            return False
        return self.last_archived_time is None or self.last_failed_time > self.last_archived_time


@dataclass(frozen=True, slots=True)
class RunningBackup:
    """A base backup of the server or a dump of the database that runs now.

    Units: seconds. Source: pg_stat_activity, pg_stat_progress_basebackup (14).
    """

    pid: int
    kind: str
    application_name: str | None
    usename: str | None
    phase: str | None
    age_seconds: float | None


def read_slots(connection: Connection) -> list[ReplicationSlot]:
    """Every slot, the one that holds back most first."""
    return fetch(connection, "replication_slots", ReplicationSlot)


def read_replication_lag(connection: Connection) -> list[ReplicationLag]:
    """Every connection that replays from here, the farthest behind first."""
    return fetch(connection, "replication_lag", ReplicationLag)


def read_archiver(connection: Connection) -> ArchiverFacts:
    """What the archiver has done."""
    (facts,) = fetch(connection, "archiver_facts", ArchiverFacts)
    return facts


def read_running_backups(connection: Connection) -> list[RunningBackup]:
    """Backups that run now, by what they call themselves."""
    return fetch(connection, "running_backups", RunningBackup)
