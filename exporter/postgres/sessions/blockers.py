"""The sessions that a concurrent build waits for, by PostgreSQL's rules. Reads only; decides nothing.

A build waits for every session that holds a writer's or a stronger lock on its table, prepared transactions
too, and at its end for every snapshot in its database that is older than its own. It does not wait for
idle transactions that hold neither, however long they are open.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from exporter.postgres.fetching import fetch
from exporter.postgres.sessions.other_sessions import OtherSession
from exporter.postgres.target import APPLICATION_NAME, Connection


@dataclass(frozen=True, slots=True)
class Blocker:
    """One session, or one prepared transaction, that a build waits for.

    `kind` is lock, prepared or snapshot. A lock or prepared transaction names the table in `relid` and its
    `mode`; where `granted` is False it waits itself, and a build would queue behind it. What belongs to
    another role's session is None without pg_read_all_stats, `transaction_age_seconds` among it.
    `query` is as the server shows it and can hold secrets, `described` is fit to print.
    `prevents_wraparound` marks an autovacuum that does not give way, `builds_index` another build.
    Units: seconds. Source: pg_locks, pg_stat_activity, pg_prepared_xacts, pg_stat_progress_vacuum (14).
    """

    kind: str
    relid: int | None
    mode: str | None
    granted: bool | None
    pid: int | None
    gid: str | None
    usename: str | None
    application_name: str | None
    backend_type: str | None
    state: str | None
    transaction_age_seconds: float | None
    query: str | None
    prevents_wraparound: bool | None
    builds_index: bool
    backend_start: datetime | None
    xact_start: datetime | None

    @property
    def is_ours(self) -> bool:
        """True for a build of this tool: it ends by itself, and its own progress is shown."""
        return (self.application_name or "").startswith(f"{APPLICATION_NAME}/")

    @property
    def gives_way(self) -> bool:
        """True for an autovacuum that the server itself cancels when a build waits for it."""
        return self.backend_type == "autovacuum worker" and not self.prevents_wraparound

    @property
    def described(self) -> str:
        """Who it is, in words, fit to print."""
        return self.session.described

    @property
    def session(self) -> OtherSession:
        """The session or prepared transaction itself; `mode` is its lock."""
        return OtherSession(
            pid=self.pid,
            gid=self.gid,
            usename=self.usename,
            application_name=self.application_name,
            backend_type=self.backend_type,
            state=self.state,
            mode=self.mode,
            has_snapshot=True if self.kind == "snapshot" else None,
            prevents_wraparound=self.prevents_wraparound,
            transaction_age_seconds=self.transaction_age_seconds,
            waiting_seconds=None,
            backend_start=self.backend_start,
            xact_start=self.xact_start,
            query=self.query,
        )


def read_blockers(connection: Connection, relids: Collection[int]) -> Sequence[Blocker]:
    """Return the sessions of this database that a build on these tables would wait for, oldest first."""
    return _read(connection, relids, is_drop=False)


def read_drop_blockers(connection: Connection, relids: Collection[int]) -> Sequence[Blocker]:
    """Return the sessions that a concurrent drop of an index of these tables would wait for, readers too."""
    return _read(connection, relids, is_drop=True)


def _read(connection: Connection, relids: Collection[int], *, is_drop: bool) -> Sequence[Blocker]:
    parameters = {"relids": list(relids), "is_drop": is_drop}
    return fetch(connection, "blockers", Blocker, **parameters)
