"""One run of a command in one database: what it works on, its control session and its journal."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from exporter.errors import TargetTimedOut
from exporter.migrate.options import RunOptions
from exporter.model import Database, Manifest, Outcome, Plan
from exporter.postgres.fetching import read_facts
from exporter.postgres.journal import Journal
from exporter.postgres.relations.tables import read_table
from exporter.postgres.sessions.blockers import read_drop_blockers
from exporter.postgres.target import (
    APPLICATION_NAME,
    Connection,
    SessionLimits,
    address,
    connect,
    mapped_errors,
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command for one manifest in one database."""

    command: str
    database: Database
    manifest: Manifest
    options: RunOptions
    journal: Journal
    started_at: datetime

    @property
    def connection(self) -> Connection:
        """The control session: the journal's, which replaces a lost one."""
        return self.journal.connection

    def outcome(self, plan: Plan) -> Outcome:
        """The outcome of this run as it ends now, with the plan alone."""
        return Outcome(
            self.command,
            self.journal.run,
            plan.migration,
            self.database.datname,
            address(self.database),
            read_facts(self.journal.live_connection()).server_version,
            self.started_at,
            now(),
            plan,
        )


@contextmanager
def open_run(
    command: str, database: Database, manifest: Manifest, options: RunOptions, *, purpose: str | None = None
) -> Iterator[Run]:
    """A run with its control session, which is named after `purpose`, by default the command.

    Raises: TargetError for psycopg's errors; TargetTimedOut with the holders of the lock when a table
    cannot be read.
    """
    started_at = now()
    run_id = secrets.token_hex(4)
    limits = SessionLimits(connect_timeout_seconds=options.connect_timeout_seconds, lock_timeout_seconds=10)
    name = f"{APPLICATION_NAME}-{purpose or command}/{run_id}"
    with (
        mapped_errors(database),
        closing(connect(database, application_name=name, read_only=False, limits=limits)) as connection,
    ):
        journal = Journal(connection, options.journal_schema, manifest.migration, run_id)
        try:
            yield Run(command, database, manifest, options, journal, started_at)
        except psycopg.errors.LockNotAvailable as error:
            raise _locked(journal.connection, database, manifest) from error
        finally:
            # The journal may have replaced the first connection.
            journal.connection.close()


def now() -> datetime:
    """The moment, by this machine's clock."""
    return datetime.now(UTC)


def _locked(connection: Connection, database: Database, manifest: Manifest) -> TargetTimedOut:
    """Which tables could not be read, and which sessions lock them."""
    locked: list[str] = []
    with suppress(psycopg.Error):
        for name in sorted({index.table for index in manifest.indexes} | set(manifest.analyze)):
            table = read_table(connection, name)
            blockers = read_drop_blockers(connection, [] if table is None else [table.relid])
            holders = [blocker.described for blocker in blockers if blocker.mode == "AccessExclusiveLock"]
            if holders:
                locked.append(f"{name.quoted} by {'; '.join(holders)}")
    # The lock may be gone since the read failed.
    holders_shown = f": {', '.join(locked)}" if locked else ", lock holder unknown"
    return TargetTimedOut(
        f"{address(database)}: a table is locked{holders_shown}",
        hint="rerun when the lock is released",
    )
