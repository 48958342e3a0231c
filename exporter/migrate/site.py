"""Where steps are carried out: sessions, locks and looks at one database, and what the journal is told.

Several threads use it at once, each for a table of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from exporter.errors import ExporterError, TargetError
from exporter.migrate.reconcile import observe_index
from exporter.model import Database, DeclaredIndex, ObservedIndex, RelationName, Step
from exporter.postgres.catalog import TableFacts, compile_index, read_table, read_table_builders
from exporter.postgres.journal import EventStatus, Journal, Phase
from exporter.postgres.locks import acquire_table_lock
from exporter.postgres.progress import read_builds
from exporter.postgres.target import APPLICATION_NAME, Connection, SessionLimits, connect


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How long steps may take. Units: seconds."""

    deadline_seconds: float = 24 * 3600.0
    lock_budget_seconds: float = 60.0
    cleanup_budget_seconds: float = 60.0
    reconnect_budget_seconds: float = 30.0
    poll_seconds: float = 0.25
    max_attempts: int = 3


@dataclass(slots=True)
class Site:
    """One migration's work in one database: what runs there now, and how to stop it."""

    database: Database
    journal: Journal
    options: StepOptions
    on_note: Callable[[Step, str], None]
    stopping: threading.Event = field(default_factory=threading.Event)
    _sessions: dict[Step, Connection] = field(default_factory=dict)
    _followed: dict[Step, int] = field(default_factory=dict)
    _cancelled: set[Step] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def active_pids(self) -> dict[int, Step]:
        """The server processes that work on steps now; of a followed build, the one that builds."""
        with self._lock:
            own = {
                connection.info.backend_pid: step
                for step, connection in self._sessions.items()
                if step not in self._followed and not connection.closed
            }
            return own | {pid: step for step, pid in self._followed.items()}

    def cancel_active(self) -> None:
        """Asks the server to cancel what runs now; cleaning up goes on in the steps' own threads.

        To be called until the steps have ended: a cancel that comes before its statement is lost. A build
        that is only followed goes on: its own run may be alive.
        """
        self.stopping.set()
        with self._lock:
            sessions = [(step, one) for step, one in self._sessions.items() if step not in self._followed]
        for step, connection in sessions:
            if step not in self._cancelled:
                self._cancelled.add(step)
                self.on_note(step, "cancelling and cleaning up")
            # A session that is gone needs no cancel; its step finds out by itself.
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=5)

    def leave(self, step: Step) -> None:
        """Forgets the session of a step that has ended."""
        with self._lock:
            self._sessions.pop(step, None)

    def session(self, step: Step, *, lock_timeout_seconds: float = 0) -> Connection:
        """The session of a step: alone on the wire, the deadline as its orphan guard.

        Without a lock_timeout, which would protect nobody and end a build at its last wait.
        """
        subject = step.index.name if step.index is not None else step.table.relname
        prefix = f"{APPLICATION_NAME}/{self.journal.run}/"
        connection = connect(
            self.database,
            application_name=prefix + subject.encode()[: 63 - len(prefix)].decode(errors="ignore"),
            read_only=False,
            limits=SessionLimits(
                statement_timeout_seconds=self.options.deadline_seconds,
                lock_timeout_seconds=lock_timeout_seconds,
            ),
        )
        with self._lock:
            self._sessions[step] = connection
        return connection

    def connect_patiently(self, purpose: str, limits: SessionLimits) -> Connection:
        """A session beside the steps' own, for which the server may have to come back first."""
        deadline = time.monotonic() + self.options.reconnect_budget_seconds
        while True:
            try:
                return connect(
                    self.database,
                    application_name=f"{APPLICATION_NAME}-{purpose}/{self.journal.run}",
                    read_only=False,
                    limits=limits,
                )
            except TargetError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(self.options.poll_seconds)

    def lock_table(self, connection: Connection, table: RelationName) -> bool:
        """True when the session holds this tool's lock of the table, until it ends."""
        return acquire_table_lock(
            connection,
            self._table(connection, table).relid,
            budget_seconds=self.options.lock_budget_seconds,
            give_up=self.stopping.is_set,
        )

    def observe(self, connection: Connection, index: DeclaredIndex) -> ObservedIndex:
        """Where the index stands now."""
        table = self._table(connection, index.table)
        compiled = compile_index(connection, index)
        return observe_index(connection, index, compiled, table, self.journal.created())

    def follow(self, step: Step, connection: Connection, observed: ObservedIndex) -> None:
        """Waits until the process that works on the index, for an earlier run of ours, ends or we stop."""
        if observed.builder_pid is None:
            return
        self.on_note(step, f"following the build by pid {observed.builder_pid} in the server")
        with self._lock:
            self._followed[step] = observed.builder_pid
        try:
            while not self.stopping.is_set() and _is_at_work(connection, observed):
                self.stopping.wait(self.options.poll_seconds)
        finally:
            with self._lock:
                self._followed.pop(step, None)

    def wait_until_free(self, step: Step, connection: Connection, observed: ObservedIndex) -> None:
        """Waits within the cleanup budget for a stranger that holds the table, whatever asks us to stop."""
        self.on_note(step, f"cleaning up waits for the table: {observed.detail}")
        deadline = time.monotonic() + self.options.cleanup_budget_seconds
        while time.monotonic() < deadline and _is_at_work(connection, observed):
            time.sleep(self.options.poll_seconds)

    def record(
        self,
        phase: Phase,
        status: EventStatus,
        observed: ObservedIndex,
        attempt: int = 1,
        message: str | None = None,
    ) -> None:
        """Tells the journal about one index."""
        detail = {"state": observed.state.value, "indexrelid": observed.indexrelid}
        self.journal.append(
            phase,
            status,
            index_name=observed.declared.name,
            attempt=attempt,
            definition=observed.definition,
            detail=detail | ({"message": message} if message else {}),
        )

    def _table(self, connection: Connection, name: RelationName) -> TableFacts:
        table = read_table(connection, name)
        if table is None:
            raise ExporterError(f"the table {name.quoted} is gone", mend="see who dropped or renamed it")
        return table


def _is_at_work(connection: Connection, observed: ObservedIndex) -> bool:
    pids = {build.pid for build in read_builds(connection)}
    if observed.relid is not None:
        pids |= {builder.pid for builder in read_table_builders(connection, observed.relid)}
    return observed.builder_pid in pids
