"""Builds that run in the server: phase, share done, and whom they wait for.

Used by the builder, which follows its own, and by anybody who watches. Reads only; decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.postgres.target import Connection, fetch_version

# Share of a whole build, measured on b-tree builds of some million rows; a phase that waits weighs nothing.
PHASE_WEIGHTS: tuple[tuple[str, float], ...] = (
    ("initializing", 0.0),
    ("waiting for writers before build", 0.0),
    ("building index", 0.0),
    ("building index: initializing", 0.0),
    ("building index: scanning table", 0.43),
    ("building index: sorting live tuples", 0.08),
    ("building index: sorting dead tuples", 0.0),
    ("building index: loading tuples in tree", 0.16),
    ("waiting for writers before validation", 0.0),
    ("index validation: scanning index", 0.15),
    ("index validation: sorting tuples", 0.04),
    ("index validation: scanning table", 0.14),
    ("waiting for old snapshots", 0.0),
    ("waiting for readers before marking dead", 0.0),
    ("waiting for readers before dropping", 0.0),
)
# Access methods without sub-phases show their whole build as one.
_OPAQUE_BUILD_WEIGHT = 0.67


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """One running build.

    `index_relid` is 0 and `indexname` None while the server does not name the index; `ancestors` are the
    oids of the partitioned tables above the table. Units: seconds.
    Source: pg_stat_progress_create_index, pg_stat_activity (12).
    """

    pid: int
    relid: int
    index_relid: int
    application_name: str | None
    usename: str | None
    command: str
    phase: str
    lockers_total: int | None
    lockers_done: int | None
    current_locker_pid: int | None
    blocks_total: int | None
    blocks_done: int | None
    tuples_total: int | None
    tuples_done: int | None
    locker_application_name: str | None
    locker_usename: str | None
    locker_state: str | None
    locker_transaction_age_seconds: float | None
    indexname: str | None = None
    ancestors: Sequence[int] = ()

    @property
    def phase_share(self) -> float:
        """How much of the current phase is done, 0 to 1."""
        for total, done in (
            (self.tuples_total, self.tuples_done),
            (self.blocks_total, self.blocks_done),
        ):
            if total and done is not None:
                return min(1.0, done / total)
        return 0.0

    @property
    def share(self) -> float:
        """How much of the whole build is done, 0 to 1, by the weights of its phases."""
        before = 0.0
        for phase, weight in PHASE_WEIGHTS:
            if phase == self.phase:
                weight = _OPAQUE_BUILD_WEIGHT if phase == "building index" else weight
                return min(1.0, before + weight * self.phase_share)
            before += weight
        return 0.0

    @property
    def waits_for(self) -> str | None:
        """The session that the build waits for, in words."""
        if not self.current_locker_pid:
            return None
        who = f"pid {self.current_locker_pid}"
        if self.locker_usename:
            who += f", user {self.locker_usename}"
        if self.locker_application_name:
            who += f", {self.locker_application_name}"
        if self.locker_state:
            who += f", {self.locker_state}"
        if self.locker_transaction_age_seconds is not None:
            who += f", transaction open for {self.locker_transaction_age_seconds:.0f} s"
        return who


def read_builds(connection: Connection) -> list[BuildProgress]:
    """The builds that run in this database now."""
    return fetch_version(connection, "build_progress", BuildProgress, connection.info.server_version)
