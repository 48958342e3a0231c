"""Every option and policy of the change line: limits, budgets, and what is done with other sessions.

Imports nothing of the line, so that a command that only reads does not load what executes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from exporter.model import BackupCommand, OnFailure
from exporter.postgres.builds.phases import WAITING_FOR_TABLE
from exporter.settings.model import DEFAULTS

# The name of the WAL volume among names of tablespaces: no user's tablespace begins with pg_.
WAL_VOLUME = "pg_wal"


class BlockerPolicy(StrEnum):
    """What is done with sessions that made a build wait longer than the limit."""

    WAIT = "wait"
    CANCEL = "cancel"
    TERMINATE = "terminate"


class WaiterPolicy(StrEnum):
    """What is done when sessions wait for a build."""

    WAIT = "wait"
    YIELD = "yield"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Patterns:
    """Shell patterns for the sessions that a policy may signal; a kind without patterns matches all.

    Without any pattern no session matches.
    """

    applications: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()

    def match(self, application_name: str | None, usename: str | None, datname: str) -> bool:
        """True when the session matches a pattern of every kind that is given."""
        kinds = (
            (self.applications, application_name),
            (self.users, usename),
            (self.databases, datname),
        )
        given = [(patterns, value) for patterns, value in kinds if patterns]
        return bool(given) and all(
            any(fnmatchcase(value or "", pattern) for pattern in patterns) for patterns, value in given
        )


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How long a build waits for others, how long others wait for it, and how often both are read.

    A budget of 0 has no limit. `quiesce_seconds` is how long a build waits before it starts for
    transactions older than `quiesce_age_seconds`, which would delay it later, where waiting costs more.
    Units: seconds.
    """

    poll_seconds: float = 0.25
    quiesce_seconds: float = DEFAULTS.quiesce_seconds
    quiesce_age_seconds: float = 10.0
    table_budget_seconds: float = DEFAULTS.table_budget_seconds
    writers_budget_seconds: float = DEFAULTS.writers_budget_seconds
    snapshots_budget_seconds: float = DEFAULTS.snapshots_budget_seconds
    on_blocker: BlockerPolicy = BlockerPolicy.WAIT
    blocker_limit_seconds: float = DEFAULTS.blocker_limit_seconds
    on_waiter: WaiterPolicy = WaiterPolicy.WAIT
    waiter_limit_seconds: float = DEFAULTS.waiter_limit_seconds
    patterns: Patterns = Patterns()

    def budget_seconds(self, phase: str) -> float | None:
        """How long a build may wait in that phase; None without limit."""
        budgets = {
            WAITING_FOR_TABLE: self.table_budget_seconds,
            "waiting for writers before build": self.writers_budget_seconds,
            "waiting for writers before validation": self.writers_budget_seconds,
            "waiting for old snapshots": self.snapshots_budget_seconds,
        }
        return budgets.get(phase) or None


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How long steps may take, and how often they are tried. Units: seconds."""

    deadline_seconds: float = DEFAULTS.deadline_seconds
    lock_budget_seconds: float = 60.0
    cleanup_budget_seconds: float = 60.0
    reconnect_budget_seconds: float = 30.0
    poll_seconds: float = 0.25
    max_attempts: int = 3
    retry_base_seconds: float = 2.0
    watch: WatchOptions = field(default_factory=WatchOptions)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a plan is run; `sequential` is the same loop with one worker."""

    sequential: bool = DEFAULTS.sequential
    max_parallel: int | None = DEFAULTS.max_parallel
    on_failure: OnFailure = OnFailure.STOP_LAUNCHING
    steps: StepOptions = field(default_factory=StepOptions)


@dataclass(frozen=True, slots=True)
class PreflightOptions:
    """Limits and sources of the checks. Units: bytes, seconds, shares from 0 to 1.

    `data_directory` is the server's, as mounted here; `free_bytes` is the free space that the user states,
    by tablespace: "" is the database's default, `pg_wal` the WAL. `needs_signal`: a policy cancels sessions.
    `max_parallel` is how many tables are built on at a time, None for all; `disk_budget_bytes` replaces the
    free space as the limit of what builds at the same time may take.
    """

    data_directory: Path | None = None
    free_bytes: Mapping[str, int] = field(default_factory=dict)
    backup: BackupCommand | None = None
    runs_backup_command: bool = True
    needs_signal: bool = False
    max_parallel: int | None = DEFAULTS.max_parallel
    disk_budget_bytes: int | None = None
    deadline_seconds: float = DEFAULTS.deadline_seconds
    query_budget_seconds: float = 15.0
    blocker_age_seconds: float = 5.0
    warn_lag_seconds: float = 60.0
    max_lag_seconds: float = 600.0
    warn_lag_bytes: int = 256 * 1024**2
    max_lag_bytes: int = 16 * 1024**3
    warn_free_share: float = 0.10
    warn_age_share: float = 0.60


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a command of the change line runs. Units: seconds."""

    journal_schema: str = DEFAULTS.journal_schema
    adopt_invalid: bool = False
    dry_run: bool = False
    connect_timeout_seconds: float = DEFAULTS.connect_timeout_seconds
    probe_budget_seconds: float = 15.0
    build: BuildOptions = field(default_factory=BuildOptions)
    preflight: PreflightOptions = field(default_factory=PreflightOptions)
