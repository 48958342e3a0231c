"""How the Outcome of every command begins: which database, which run, and from when to when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from exporter.model import Database, Outcome, Plan
from exporter.postgres.fetching import read_facts
from exporter.postgres.journal import Journal
from exporter.postgres.server.statistics import read_wal_position
from exporter.postgres.target import Connection, address


def now() -> datetime:
    """The moment, by this machine's clock."""
    return datetime.now(UTC)


def wal_since(connection: Connection, position_bytes: int | None) -> int | None:
    """What the whole server wrote to its log since it ended there, None where that is not known."""
    now_bytes = read_wal_position(connection)
    if position_bytes is None or now_bytes is None or now_bytes < position_bytes:
        return None
    return now_bytes - position_bytes


def outcome_of(
    command: str,
    database: Database,
    connection: Connection,
    journal: Journal,
    started_at: datetime,
    plan: Plan,
    **parts: object,
) -> Outcome:
    """The outcome of a command that ends now; `parts` are further fields of it."""
    outcome = Outcome(
        command,
        journal.run,
        plan.migration,
        database.datname,
        address(database),
        read_facts(connection).server_version,
        started_at,
        now(),
        plan,
    )
    return replace(outcome, **parts)  # type: ignore[arg-type]  # the parts are fields of Outcome
