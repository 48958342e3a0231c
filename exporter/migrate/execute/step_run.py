"""One step while it is executed: its session, the process that it follows, why it has to end, what it left.

A worker thread executes the step; meanwhile the watching thread may abandon it, and a signal may cancel it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg

from exporter.errors import ExporterError
from exporter.migrate.execute.context import ExecutionContext
from exporter.migrate.execute.processes import FollowedProcess, StepProcess
from exporter.migrate.observe.indexes import observe_index
from exporter.model import DeclaredIndex, ObservedIndex, RelationName, Step, StepKind
from exporter.postgres.journal import EventStatus, Leftover, Phase
from exporter.postgres.relations.tables import CompiledIndex, TableFacts, compile_index, read_table
from exporter.postgres.sessions.locks import raise_deadlock_timeout
from exporter.postgres.sessions.tool_sessions import session_name
from exporter.postgres.target import Connection, SessionLimits

# A session that waits for the table of a build makes the build wait for it at the end. The server ends the
# one of the two that looks for deadlocks first; other sessions look after a second. In the seconds until the
# build looks, the waiter can be cancelled or time out. No longer, because waiters can block readers.
_DEADLOCK_TIMEOUT_SECONDS = 10.0
_DROPS = {StepKind.DROP, StepKind.DROP_INVALID, StepKind.DROP_LEFTOVER}
_WATCHED = {StepKind.BUILD, StepKind.ADOPT, *_DROPS}

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class AbandonReason:
    """Why the watching thread had a build cancelled; `may_retry` where the build only yielded to others."""

    reason: str
    may_retry: bool


@dataclass(slots=True, eq=False)
class StepRun:
    """The state of one step in execution, for any thread; only `observe` is for the step's own thread.

    `_lock` is reentrant and shared by all steps of the run.
    """

    context: ExecutionContext
    step: Step
    _lock: threading.RLock
    _session: Connection | None = None
    _followed: FollowedProcess | None = None
    _is_followed_cancelled: bool = False
    _is_cancelled: bool = False
    _abandon_reason: AbandonReason | None = None
    # The process that cleans up beside the step's own session.
    _cleanup_pid: int | None = None
    _leftovers: list[Leftover] = field(default_factory=list)
    _compiled: CompiledIndex | None = None

    @property
    def index(self) -> DeclaredIndex:
        """The index of the step. Raises: ValueError for a step that names none."""
        if self.step.index is None:
            raise ValueError(f"a step of kind {self.step.kind} names no index")
        return self.step.index

    def note(self, text: str) -> None:
        """Report the text as a note on the step."""
        self.context.on_note(self.step, text)

    # Sessions

    def open_session(self, *, lock_timeout_seconds: float = 0) -> Connection:
        """Return the step's own session, in which its statement runs alone, with the deadline as its limit.

        By default without lock_timeout, which would only end a build at its last wait.
        Raises: TargetError after the reconnect budget; Halted if another system answers.
        """
        subject = self.step.index.name if self.step.index is not None else self.step.table.relname
        connection = self.context.connect(
            session_name(self.context.journal.run, subject),
            SessionLimits(
                statement_timeout_seconds=self.context.options.deadline_seconds,
                lock_timeout_seconds=lock_timeout_seconds,
            ),
        )
        if lock_timeout_seconds == 0:
            raise_deadlock_timeout(connection, _DEADLOCK_TIMEOUT_SECONDS)
        with self._lock:
            self._session = connection
        return connection

    def clean_up(self, work: Callable[[Connection], Result], limits: SessionLimits) -> Result:
        """Return the result of `work` in a session of its own, which is watched as a cleanup of the step.

        Raises: as `ExecutionContext.run_in_session`.
        """

        def watched(connection: Connection) -> Result:
            self._set_cleanup_pid(connection.info.backend_pid)
            try:
                return work(connection)
            finally:
                self._set_cleanup_pid(None)

        return self.context.run_in_session("cleanup", watched, limits)

    def processes(self) -> Iterator[tuple[int, StepProcess]]:
        """Yield the server processes that work for the step now, by pid.

        While the step follows a process, that one works for it, and its own session waits.
        """
        with self._lock:
            followed, session, cleanup_pid = self._followed, self._session, self._cleanup_pid
        if followed is not None:
            process = StepProcess(self.step, followed.is_drop, followed.is_managed, followed.may_cancel)
            yield followed.pid, process
        if cleanup_pid is not None:
            yield cleanup_pid, StepProcess(self.step, is_drop=True, may_cancel=False, is_cleanup=True)
        if followed is None and cleanup_pid is None and session is not None and not session.closed:
            is_drop = self.step.kind in _DROPS
            is_watched = self.step.kind in _WATCHED
            yield session.info.backend_pid, StepProcess(self.step, is_drop, is_watched, not is_drop)

    # Ending early

    def mark_cancelled(self) -> bool:
        """Return True if the step is to be cancelled from now on; False if it was before, or runs nothing."""
        with self._lock:
            if self._is_cancelled or not self._is_cancellable():
                return False
            self._is_cancelled = True
            return True

    def own_session(self) -> Connection | None:
        """Return the step's own session; None while the step has none, or follows a process."""
        with self._lock:
            return self._session if self._followed is None else None

    def abandon(self, reason: str, *, may_retry: bool) -> None:
        """Cancel what the step runs now; the step cleans up in its own thread."""
        with self._lock:
            if self._abandon_reason is not None or not self._is_cancellable():
                return
            self._abandon_reason = AbandonReason(reason, may_retry)
            # The session of now: the step may have another one when the journal is written.
            session = self.own_session()
        self.record_action({"action": "abandon", "because": reason})
        self.note(f"abandoning the build and cleaning up: {reason}")
        if session is not None:
            cancel_statement(session)

    def take_abandon_reason(self) -> AbandonReason | None:
        """Return, once, why the attempt that has just ended was abandoned; None if it was not."""
        with self._lock:
            reason, self._abandon_reason = self._abandon_reason, None
            return reason

    def end(self) -> None:
        """Forget what belongs to the execution that has ended: another one starts without it."""
        with self._lock:
            self._session = None
            self._abandon_reason = None
            self._is_followed_cancelled = False
            self._compiled = None

    def _is_cancellable(self) -> bool:
        return self._session is not None if self._followed is None else self._followed.may_cancel

    # Following a process

    def follow(self, process: FollowedProcess | None) -> None:
        """Set the process that the step follows from now on; None for none."""
        with self._lock:
            self._followed = process

    def reason_to_cancel_followed(self) -> str | None:
        """Return why the followed process is to be cancelled; None if it is not."""
        with self._lock:
            if self._abandon_reason is not None:
                return self._abandon_reason.reason
            return "the run was stopped" if self._is_cancelled else None

    @property
    def is_followed_cancelled(self) -> bool:
        """True after a cancel was sent to the process that the step follows, or followed."""
        with self._lock:
            return self._is_followed_cancelled

    def set_followed_cancelled(self, *, is_cancelled: bool) -> None:
        """Record that a cancel was sent to the followed process; or that its end was handled."""
        with self._lock:
            self._is_followed_cancelled = is_cancelled

    # Leftovers

    def leftovers(self) -> list[Leftover]:
        """Return the INVALID indexes that the step renamed and that this run has not dropped since."""
        with self._lock:
            return list(self._leftovers)

    def add_leftover(self, leftover: Leftover) -> None:
        """Record an INVALID index that the step could not drop and renamed."""
        with self._lock:
            self._leftovers.append(leftover)

    def remove_leftover(self, leftover: Leftover) -> None:
        """Record that the leftover was dropped."""
        with self._lock:
            self._leftovers.remove(leftover)

    # Catalogue and journal

    def observe(self, connection: Connection) -> ObservedIndex:
        """Return the state of the step's index in the catalogue."""
        table = require_table(connection, self.index.table)
        if self._compiled is None:
            # Once a step: on a volume that the build has filled, the clone does not fit either.
            self._compiled = compile_index(connection, self.index)
        return observe_index(connection, self.index, self._compiled, table, self.context.journal.created())

    def record(
        self,
        phase: Phase,
        status: EventStatus,
        observed: ObservedIndex,
        attempt: int = 1,
        message: str | None = None,
    ) -> None:
        """Append an event of the index to the journal."""
        detail = {"state": observed.state.value, "indexrelid": observed.indexrelid}
        self.context.journal.append(
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
        """As `record`, for work that goes on if the journal cannot be written, as on a full volume."""
        with suppress(psycopg.Error):
            self.record(phase, status, observed, attempt, message)

    def record_action(self, detail: dict[str, Any]) -> None:
        """Append to the journal what is done to a session, in the present phase of the index."""
        name = self.step.index.name if self.step.index is not None else None
        latest = self.context.journal.latest().get(name)
        # The step goes on: its phase, attempt and definition stay as they are.
        self.context.journal.append(
            Phase(latest.phase) if latest is not None else Phase.BUILDING,
            EventStatus.IN_PROGRESS,
            index_name=name,
            attempt=latest.attempt if latest is not None else 1,
            definition=latest.definition if latest is not None else None,
            detail=detail,
        )

    def _set_cleanup_pid(self, pid: int | None) -> None:
        with self._lock:
            self._cleanup_pid = pid


def require_table(connection: Connection, name: RelationName) -> TableFacts:
    """Return the facts of the table. Raises: ExporterError if it does not exist any more."""
    table = read_table(connection, name)
    if table is None:
        raise ExporterError(
            f"the table {name.quoted} does not exist any more", hint="find out who dropped or renamed it"
        )
    return table


def cancel_statement(session: Connection) -> None:
    """Ask the server to cancel the statement that runs in the session, if it still exists."""
    # The step notices a lost session itself.
    with suppress(psycopg.Error):
        session.cancel_safe(timeout=5)
