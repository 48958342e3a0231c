"""The journal: what this tool did to which index, append-only, in the database itself.

`migration_events` takes one row per event; `migration_log` shows the latest per index. The journal explains
and remembers definitions and baselines; the catalogue alone decides the state of an index.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from exporter.errors import SettingsError
from exporter.model import RelationName, quote_identifier
from exporter.postgres.fetching import fetch, query_for
from exporter.postgres.queries import in_schema
from exporter.postgres.target import Connection

EVENTS_COLUMNS = (
    "id",
    "run",
    "name",
    "index_name",
    "phase",
    "status",
    "attempt",
    "definition",
    "detail",
    "operator",
    "at",
)
_RELATION_KINDS = {"migration_events": "r", "migration_log": "v"}
# Another run makes the journal at this moment.
_MADE_MEANWHILE = (
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.UniqueViolation,
)

Row = TypeVar("Row")
Answer = TypeVar("Answer")


class Phase(StrEnum):
    """The states of one index's migration, in their order, then the ways out of it."""

    PLANNED = "planned"
    LOCKED = "locked"
    RECONCILED = "reconciled"
    PREFLIGHT_OK = "preflight_ok"
    BASELINE = "baseline"
    QUIESCED = "quiesced"
    BUILDING = "building"
    CATALOG_OK = "catalog_ok"
    ATTACHED = "attached"
    ANALYZED = "analyzed"
    PLAN_OK = "plan_ok"
    DONE = "done"
    CLEANUP = "cleanup"
    DETACHED = "detached"
    DROPPING = "dropping"
    DROPPED = "dropped"


class EventStatus(StrEnum):
    """The status of the phase of an event."""

    IN_PROGRESS = "in_progress"
    DONE = "done"
    FAILED = "failed"
    LEFT_BEHIND = "left_behind"
    DEGRADED = "degraded"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class JournalRelation:
    """A relation with a name of the journal. Source: pg_class, pg_attribute, pg_type, pg_roles.

    `is_plain_table`: reading it executes no code of its owner. `has_trusted_owner`: a superuser, the owner of
    the database, or a role whose privileges we have anyway.
    """

    relname: str
    relkind: str
    column_names: list[str]
    may_select: bool
    is_plain_table: bool
    owner_name: str
    has_trusted_owner: bool

    @property
    def is_readable_journal(self) -> bool:
        """True for a table of events as this tool makes it."""
        return self.is_plain_table and set(EVENTS_COLUMNS) <= set(self.column_names)


@dataclass(frozen=True, slots=True)
class LogRow:
    """The latest event of an index, or of the migration where `index_name` is None."""

    name: str
    index_name: str | None
    phase: str
    status: str
    attempt: int
    run: str
    definition: str | None
    detail: dict[str, Any]
    operator: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CreatedIndex:
    """The last of building, catalog_ok and dropped that one index reached.

    `indexrelid` is its oid as it was built; `is_dropping`: a drop was begun since, whose end is
    not known or left it INVALID; `verified_at` is when a run last proved that it is used.
    """

    index_name: str
    phase: str
    definition: str | None
    run: str
    at: datetime
    indexrelid: int | None = None
    is_dropping: bool = False
    verified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Leftover:
    """An INVALID index of a migration that was given another name, because it could not be dropped.

    `schemaname` and `relname` are its table. Source: the journal, pg_class, pg_index (14).
    """

    indexrelid: int
    indexname: str
    schemaname: str
    relname: str
    renamed_from: str

    @property
    def table(self) -> RelationName:
        """The table that it costs writes."""
        return RelationName(self.schemaname, self.relname)

    @property
    def relation(self) -> RelationName:
        """Its own name."""
        return RelationName(self.schemaname, self.indexname)


@dataclass(slots=True)
class Journal:
    """Writes and reads the journal of one migration over one connection, safe for several threads.

    A connection that was lost is replaced by what `reconnect` gives, where it is given.
    """

    connection: Connection
    schemaname: str
    migration: str
    run: str
    reconnect: Callable[[], Connection] | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def exists(self) -> bool:
        """True when both relations are there and ours.

        Raises: SettingsError if other relations have their names.
        """
        with self._lock:
            relations = fetch(
                self.connection, "journal_relations", JournalRelation, schemaname=self.schemaname
            )
        for relation in relations:
            is_ours = relation.relkind == _RELATION_KINDS[relation.relname] and (
                relation.relname == "migration_log" or relation.is_readable_journal
            )
            if not is_ours:
                raise SettingsError(
                    f"{quote_identifier(self.schemaname)}.{relation.relname} exists and is not this tool's",
                    hint="choose another schema for the journal: --journal-schema",
                )
            # Its triggers would run with our rights.
            if not relation.has_trusted_owner:
                owner = quote_identifier(relation.owner_name)
                raise SettingsError(
                    f"the journal {quote_identifier(self.schemaname)}.{relation.relname} is owned by "
                    f"{owner}, whose code could run with this role's rights: refused for security",
                    hint=f"connect as {owner}, or choose another schema for the journal: --journal-schema",
                )
        found = {relation.relname for relation in relations}
        if len(found) == 1:
            (missing,) = set(_RELATION_KINDS) - found
            raise SettingsError(
                f"{quote_identifier(self.schemaname)}.{missing} is missing beside {found.pop()}",
                hint="restore it, or rename the other so that a new journal can be made",
            )
        return bool(found)

    def unreadable_because(self) -> str | None:
        """Return why the journal cannot be read, None if it can: reading executes no code of its owner."""
        relations = fetch(self.connection, "journal_relations", JournalRelation, schemaname=self.schemaname)
        events = next((one for one in relations if one.relname == "migration_events"), None)
        schema = quote_identifier(self.schemaname)
        if events is None:
            return f"there is none in schema {schema}"
        if not events.is_readable_journal:
            return f"{schema}.migration_events is not this tool's"
        return None if events.may_select else f"this role may not read {schema}.migration_events"

    def ensure(self) -> None:
        """Creates the journal where it is missing.

        Raises: SettingsError if other relations have its names, or there is no such schema.
        """
        with self._lock:
            if self.exists():
                return
            try:
                with self.connection.transaction():
                    self.connection.execute(self._text("journal_create", has_parameters=False))
            except psycopg.errors.InvalidSchemaName as error:
                raise SettingsError(
                    f"there is no schema {quote_identifier(self.schemaname)} for the journal",
                    hint="create it, or choose another: --journal-schema",
                ) from error
            except _MADE_MEANWHILE:
                if not self.exists():
                    raise

    def append(
        self,
        phase: Phase,
        status: EventStatus,
        *,
        index_name: str | None = None,
        attempt: int = 1,
        definition: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Appends one event; it is committed when this returns."""
        event = {
            "run": self.run,
            "name": self.migration,
            "index_name": index_name,
            "phase": phase.value,
            "status": status.value,
            "attempt": attempt,
            "definition": definition,
            "detail": Jsonb(dict(detail or {})),
        }
        # Lost on the way, an event may be written twice: readers use the latest, so that is harmless.
        self._ask(lambda connection: connection.execute(self._text("journal_append"), event))

    def live_connection(self) -> Connection:
        """The connection after it has answered, a new one where the old was lost."""
        self._ask(lambda connection: connection.execute("SELECT"))
        return self.connection

    def latest(self) -> dict[str | None, LogRow]:
        """The latest event of each index by its name, that of the migration under None."""
        rows = self._read("journal_latest", LogRow, {"name": self.migration})
        return {row.index_name: row for row in rows}

    def baseline(self) -> dict[str, Any]:
        """The detail of the last baseline that is on record, empty when there is none."""
        parameters = {"name": self.migration, "phase": Phase.BASELINE.value}
        rows = self._read("journal_baseline", LogRow, parameters)
        return rows[0].detail if rows else {}

    def created(self) -> dict[str, CreatedIndex]:
        """The indexes that this migration created, or began to, and did not drop since."""
        rows = self._read("journal_created", CreatedIndex, {"name": self.migration})
        return {row.index_name: row for row in rows if row.phase != Phase.DROPPED}

    def adopted_partitions(self) -> set[RelationName]:
        """The indexes of partitions that existed before this migration attached them to its own."""
        return set(self._read("journal_attached", RelationName, {"name": self.migration}))

    def leftovers(self) -> list[Leftover]:
        """Return the INVALID indexes that this migration renamed and that still exist."""
        return self._read("journal_leftovers", Leftover, {"name": self.migration})

    def _read(self, what: str, row_type: type[Row], parameters: Mapping[str, object]) -> list[Row]:
        def read(connection: Connection) -> list[Row]:
            with connection.cursor(row_factory=class_row(row_type)) as cursor:
                return cursor.execute(self._text(what), parameters).fetchall()

        return self._ask(read)

    def _ask(self, work: Callable[[Connection], Answer]) -> Answer:
        with self._lock:
            try:
                return work(self.connection)
            except psycopg.OperationalError:
                if self.reconnect is None or not self.connection.closed:
                    raise
            self.connection = self.reconnect()
            return work(self.connection)

    def _text(self, what: str, *, has_parameters: bool = True) -> sql.Composed:
        text = query_for(self.connection, what)
        return in_schema(text, self.schemaname, has_parameters=has_parameters)
