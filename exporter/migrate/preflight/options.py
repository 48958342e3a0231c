"""What the preflight goes by: where to look for free space, and the marks at which it warns or refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.model import BackupCommand

# Among names of tablespaces: those of users do not begin with pg_.
WAL_VOLUME = "pg_wal"


@dataclass(frozen=True, slots=True)
class PreflightOptions:
    """Marks and sources of the checks. Units: bytes, seconds, shares from 0 to 1.

    `data_directory` is the server's, seen from here; `free_bytes` is what somebody else says is free, by
    tablespace, that of the database's own under the empty name, and `pg_wal`. `needs_signal`: blockers may
    be cancelled. `max_parallel` is how many tables are built on at a time, None for all;
    `disk_budget_bytes` what they may take meanwhile, instead of what the volumes allow.
    """

    data_directory: Path | None = None
    free_bytes: Mapping[str, int] = field(default_factory=dict)
    backup: BackupCommand | None = None
    runs_backup_command: bool = True
    needs_signal: bool = False
    max_parallel: int | None = 8
    disk_budget_bytes: int | None = None
    deadline_seconds: float = 24 * 3600.0
    query_budget_seconds: float = 15.0
    blocker_age_seconds: float = 5.0
    warn_lag_seconds: float = 60.0
    max_lag_seconds: float = 600.0
    warn_lag_bytes: int = 256 * 1024**2
    max_lag_bytes: int = 16 * 1024**3
    warn_free_share: float = 0.10
    warn_age_share: float = 0.60
