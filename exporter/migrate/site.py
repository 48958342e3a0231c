"""Where steps are carried out: sessions, locks and looks at one database, and what the journal is told.

Several threads use it at once, each for a table of its own.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TypeVar

import psycopg

from exporter.errors import ExporterError, TargetTimedOut, TargetUnreachable
from exporter.migrate.classify import delay_seconds
from exporter.migrate.ending import is_connection_lost
from exporter.migrate.reconcile import observe_index
from exporter.migrate.watch.policy import WatchOptions
from exporter.model import Database, DeclaredIndex, ObservedIndex, RelationName, Step
from exporter.postgres.catalog import (
    CompiledIndex,
    TableFacts,
    compile_index,
    read_table,
    read_table_builders,
)
from exporter.postgres.identity import SystemIdentity, read_identity, require_same_system
from exporter.postgres.journal import EventStatus, Journal, Phase
from exporter.postgres.locks import LockHolder, acquire_table_lock
from exporter.postgres.progress import read_builds
from exporter.postgres.target import APPLICATION_NAME, Connection, SessionLimits, connect

# A server that goes away this often in one look is not going to stay.
_MOST_LOSSES = 5
# Ends a look at the catalogue that something unforeseen holds up.
_LOOKING = SessionLimits(statement_timeout_seconds=60.0)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How long steps may take, and how often they are tried. Units: seconds."""

    deadline_seconds: float = 24 * 3600.0
    lock_budget_seconds: float = 60.0
    cleanup_budget_seconds: float = 60.0
    reconnect_budget_seconds: float = 30.0
    poll_seconds: float = 0.25
    max_attempts: int = 3
    retry_base_seconds: float = 2.0
    watch: WatchOptions = field(default_factory=WatchOptions)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Why a build was cancelled by those who watch it; it may be tried again where it made way for others."""

    reason: str
    try_again: bool


@dataclass(slots=True)
class Site:
    """One migration's work in one database: what runs there now, and how to stop it.

    `identity` is the system on which the work was begun; no session to another is ever used.
    """

    database: Database
    journal: Journal
    options: StepOptions
    on_note: Callable[[Step, str], None]
    identity: SystemIdentity | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    _sessions: dict[Step, Connection] = field(default_factory=dict)
    _followed: dict[Step, int] = field(default_factory=dict)
    _cancelled: set[Step] = field(default_factory=set)
    _given_up: dict[Step, GivenUp] = field(default_factory=dict)
    _compiled: dict[DeclaredIndex, CompiledIndex] = field(default_factory=dict)
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

    def give_up(self, step: Step, reason: str, *, try_again: bool) -> None:
        """Asks the server to cancel what the step runs now; cleaning up goes on in the step's own thread."""
        with self._lock:
            connection = None if step in self._followed else self._sessions.get(step)
            if connection is None or step in self._given_up:
                return
            self._given_up[step] = GivenUp(reason, try_again)
        self.on_note(step, f"giving up and cleaning up: {reason}")
        # A session that is gone needs no cancel; its step finds out by itself.
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=5)

    def take_given_up(self, step: Step) -> GivenUp | None:
        """Why the attempt that ended now was given up, once; None when it was not."""
        with self._lock:
            return self._given_up.pop(step, None)

    def leave(self, step: Step) -> None:
        """Forgets the session of a step that has ended."""
        with self._lock:
            self._sessions.pop(step, None)
            self._given_up.pop(step, None)
            if step.index is not None:
                self._compiled.pop(step.index, None)

    def session(self, step: Step, *, lock_timeout_seconds: float = 0) -> Connection:
        """The BUILD session of a step: alone on the wire, the deadline as its orphan guard.

        Without a lock_timeout, which would protect nobody and end a build at its last wait.
        Raises: TargetError when the server does not come back within the reconnect budget; Halted when
        another system does.
        """
        subject = step.index.name if step.index is not None else step.table.relname
        prefix = f"{APPLICATION_NAME}/{self.journal.run}/"
        connection = self._connect(
            prefix + subject.encode()[: 63 - len(prefix)].decode(errors="ignore"),
            SessionLimits(
                statement_timeout_seconds=self.options.deadline_seconds,
                lock_timeout_seconds=lock_timeout_seconds,
            ),
        )
        with self._lock:
            self._sessions[step] = connection
        return connection

    def connect_beside(self, purpose: str, limits: SessionLimits = _LOOKING) -> Connection:
        """A session beside the steps' own, for which the server may have to come back first.

        Raises: as `session`.
        """
        return self._connect(f"{APPLICATION_NAME}-{purpose}/{self.journal.run}", limits)

    def beside(
        self,
        purpose: str,
        work: Callable[[Connection], Result],
        limits: SessionLimits = _LOOKING,
    ) -> Result:
        """What `work` gives in a session of its own; begun anew where the session is lost.

        Raises: as `session`; psycopg.Error for what is no lost connection.
        """
        losses = 0
        while True:
            with closing(self.connect_beside(purpose, limits)) as connection:
                try:
                    return work(connection)
                except psycopg.Error as error:
                    losses += 1
                    if not is_connection_lost(error) or losses >= _MOST_LOSSES:
                        raise
            time.sleep(self.options.poll_seconds)

    def _connect(self, application_name: str, limits: SessionLimits) -> Connection:
        deadline = time.monotonic() + self.options.reconnect_budget_seconds
        while True:
            try:
                connection = connect(
                    self.database, application_name=application_name, read_only=False, limits=limits
                )
                try:
                    self._require_same_system(connection)
                except BaseException:
                    connection.close()
                    raise
                return connection
            except (TargetUnreachable, TargetTimedOut):
                if time.monotonic() >= deadline:
                    raise
            except psycopg.Error as error:
                if not is_connection_lost(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(self.options.poll_seconds)

    def _require_same_system(self, connection: Connection) -> None:
        now = read_identity(connection)
        if self.identity is not None:
            require_same_system(self.identity, now)
        with self._lock:
            self.identity = now

    def pause(self, attempt: int) -> None:
        """Waits before the next attempt, unless asked to stop."""
        base_seconds = self.options.retry_base_seconds
        self.stopping.wait(delay_seconds(attempt, base_seconds=base_seconds, jitter=random.random()))  # noqa: S311 - no secret

    def lock_table(self, step: Step, connection: Connection) -> bool:
        """True when the session holds this tool's lock of the step's table, until it ends.

        A holder that builds is waited for: what another run, alive or dead, began is there afterwards.
        """
        told: set[int] = set()

        def tell(holder: LockHolder) -> None:
            if holder.is_active and holder.pid not in told:
                told.add(holder.pid)
                name = holder.application_name or "no name"
                self.on_note(
                    step, f"another run works on the table (pid {holder.pid}, {name}): waiting for it"
                )

        return acquire_table_lock(
            connection,
            self._table(connection, step.table).relid,
            budget_seconds=self.options.lock_budget_seconds,
            give_up=self.stopping.is_set,
            on_held=tell,
        )

    def observe(self, connection: Connection, index: DeclaredIndex) -> ObservedIndex:
        """Where the index stands now."""
        table = self._table(connection, index.table)
        with self._lock:
            compiled = self._compiled.get(index)
        if compiled is None:
            # Once a step: a volume that is full by the build has no room for the clone either.
            compiled = compile_index(connection, index)
            with self._lock:
                self._compiled[index] = compiled
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

    def record_if_possible(
        self,
        phase: Phase,
        status: EventStatus,
        observed: ObservedIndex,
        attempt: int = 1,
        message: str | None = None,
    ) -> None:
        """As `record`, for work that must go on where the journal cannot be written, as on a full volume."""
        with suppress(psycopg.Error):
            self.record(phase, status, observed, attempt, message)

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
