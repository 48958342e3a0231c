"""Which system answers: a session that was lost must come back to the same one, and to its primary."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.errors import Halted, TargetUnreachable
from exporter.postgres.fetching import fetch
from exporter.postgres.target import Connection


@dataclass(frozen=True, slots=True)
class SystemIdentity:
    """What distinguishes systems; `timeline_id` is None on a standby.

    Source: pg_control_system() (9.6), pg_walfile_name(pg_current_wal_insert_lsn()).
    """

    system_identifier: str | None
    timeline_id: int | None
    in_recovery: bool


def read_identity(connection: Connection) -> SystemIdentity:
    """Which system the session is connected to."""
    return fetch(connection, "system_identity", SystemIdentity)[0]


def require_same_system(before: SystemIdentity, now: SystemIdentity) -> None:
    """Returns when work that was begun before may go on now: the same system, as primary, not in its past.

    A newer timeline is a failover: the catalogue decides what survived it.
    Raises: Halted for another system or an older timeline; TargetUnreachable for a standby, which may yet be
    promoted.
    """
    if before.system_identifier != now.system_identifier:
        raise Halted(
            f"another system answers: {now.system_identifier}, not {before.system_identifier}",
            hint="see where the address leads; the work was begun in the first",
        )
    if now.in_recovery or now.timeline_id is None:
        raise TargetUnreachable(
            "a standby answers where the primary was", hint="connect to the primary, then run init again"
        )
    if before.timeline_id is not None and now.timeline_id < before.timeline_id:
        raise Halted(
            f"a server of timeline {now.timeline_id} answers, the work was on timeline {before.timeline_id}",
            hint="an old primary is back: see which one is to be written to, then run init again",
        )
