"""Where steps are carried out: sessions, locks and looks at one database, and what the journal is told.

Several threads use it at once, each for a table of its own.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import InitVar, dataclass, field
from typing import Any, TypeVar

import psycopg

from exporter.errors import ExporterError
from exporter.migrate.execute.attempt import is_connection_lost
from exporter.migrate.execute.reconnect import Reach
from exporter.migrate.execute.sqlstates import delay_seconds
from exporter.migrate.execute.work import Followed, GivenUp, Work
from exporter.migrate.observe.indexes import observe_index
from exporter.migrate.options import StepOptions
from exporter.model import Database, DeclaredIndex, ObservedIndex, RelationName, Step, StepKind
from exporter.postgres.journal import EventStatus, Journal, Leftover, Phase
from exporter.postgres.relations.tables import CompiledIndex, TableFacts, compile_index, read_table
from exporter.postgres.server.identity import SystemIdentity
from exporter.postgres.sessions.locks import raise_deadlock_timeout
from exporter.postgres.sessions.tool_sessions import session_name
from exporter.postgres.target import APPLICATION_NAME, Connection, SessionLimits

# A server that goes away this often in one look is not going to stay.
_MOST_LOSSES = 5
# Ends a look at the catalogue that something unforeseen holds up.
_LOOKING = SessionLimits(statement_timeout_seconds=60.0)

# Whoever queues behind a build waits for it, and at its end it for them. The server ends the one that looks
# first: others look after a second. Until the build does, they can be ended, or give up by themselves; no
# longer, because readers queue behind some of them.
_DEADLOCK_TIMEOUT_SECONDS = 10.0
_DROPS = {StepKind.DROP, StepKind.DROP_INVALID, StepKind.DROP_LEFTOVER}
_WATCHED = {StepKind.BUILD, StepKind.ADOPT, *_DROPS}

Result = TypeVar("Result")


@dataclass(slots=True)
class Site:
    """One migration's work in one database: what runs there now, and how to stop it.

    `identity` is the system on which the work was begun; no session to another is ever used.
    """

    database: Database
    journal: Journal
    options: StepOptions
    on_note: Callable[[Step, str], None]
    identity: InitVar[SystemIdentity | None] = None
    stopping: threading.Event = field(default_factory=threading.Event)
    _sessions: dict[Step, Connection] = field(default_factory=dict)
    _followed: dict[Step, Followed] = field(default_factory=dict)
    _cancelled: set[Step] = field(default_factory=set)
    # Steps whose followed work was told to end.
    _ended: set[Step] = field(default_factory=set)
    _given_up: dict[Step, GivenUp] = field(default_factory=dict)
    # Processes that clean up after a step, beside its session.
    _cleaning: dict[Step, int] = field(default_factory=dict)
    _leftovers: dict[Step, list[Leftover]] = field(default_factory=dict)
    _compiled: dict[DeclaredIndex, CompiledIndex] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _reach: Reach = field(init=False)

    def __post_init__(self, identity: SystemIdentity | None) -> None:
        self._reach = Reach(self.database, self.options, identity)

    def working(self) -> dict[int, Work]:
        """What the server's processes do for our steps now; of followed work, the one that works."""
        with self._lock:
            own = {
                connection.info.backend_pid: Work(step, is_drop, step.kind in _WATCHED, not is_drop)
                for step, connection in self._sessions.items()
                if step not in self._followed and step not in self._cleaning and not connection.closed
                for is_drop in [step.kind in _DROPS]
            }
            followed = {
                one.pid: Work(step, one.is_drop, one.in_our_care, one.may_end)
                for step, one in self._followed.items()
            }
            cleaning = {
                pid: Work(step, is_drop=True, may_end=False, is_cleaning=True)
                for step, pid in self._cleaning.items()
            }
            return own | followed | cleaning

    def cancel_active(self) -> None:
        """Asks the server to cancel what runs now; cleaning up goes on in the steps' own threads.

        To be called until the steps have ended: a cancel that comes before its statement is lost. Followed
        work that may be ended is told by the thread that follows it; any other goes on.
        """
        with self._lock:
            ended = [step for step, one in self._followed.items() if one.may_end]
            sessions = [(step, one) for step, one in self._sessions.items() if step not in self._followed]
            told = [step for step in (*ended, *(step for step, _ in sessions)) if step not in self._cancelled]
            self._cancelled.update(told)
        # After those are known, or their threads would leave before they have cleaned up.
        self.stopping.set()
        for step in told:
            self.on_note(step, "cancelling and cleaning up")
        for _, connection in sessions:
            # A session that is gone needs no cancel; its step finds out by itself.
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=5)

    def give_up(self, step: Step, reason: str, *, try_again: bool) -> None:
        """Asks the server to cancel what the step runs now; cleaning up goes on in the step's own thread."""
        with self._lock:
            followed, connection = self._followed.get(step), self._sessions.get(step)
            is_ours = connection is not None if followed is None else followed.may_end
            if not is_ours or step in self._given_up:
                return
            self._given_up[step] = GivenUp(reason, try_again)
        self.record_action(step, {"action": "give_up", "because": reason})
        self.on_note(step, f"giving up and cleaning up: {reason}")
        if followed is None and connection is not None:
            # A session that is gone needs no cancel; its step finds out by itself.
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=5)

    def follow(self, step: Step, followed: Followed | None) -> None:
        """Has the step follow that work from now on, or nothing."""
        with self._lock:
            if followed is None:
                self._followed.pop(step, None)
            else:
                self._followed[step] = followed

    def reason_to_end(self, step: Step) -> str | None:
        """Why the work that the step follows is to be cancelled, None while it is not."""
        with self._lock:
            given_up = self._given_up.get(step)
            if given_up is not None:
                return given_up.reason
            return "the run was told to stop" if step in self._cancelled else None

    def mark_ended(self, step: Step) -> None:
        """Remembers that the work which the step follows was told to end."""
        with self._lock:
            self._ended.add(step)

    def has_ended(self, step: Step) -> bool:
        """True when the work that the step follows, or followed, was told to end."""
        with self._lock:
            return step in self._ended

    def forget_ended(self, step: Step) -> None:
        """The end of the followed work is dealt with: what follows is another attempt."""
        with self._lock:
            self._ended.discard(step)

    def add_leftover(self, step: Step, leftover: Leftover) -> None:
        """Remembers an INVALID index that the step could not drop and gave another name."""
        with self._lock:
            self._leftovers.setdefault(step, []).append(leftover)

    def leftovers(self, step: Step) -> list[Leftover]:
        """What the step set aside and nobody dropped since, as far as this run knows."""
        with self._lock:
            return list(self._leftovers.get(step, ()))

    def forget_leftover(self, step: Step, leftover: Leftover) -> None:
        """It is dropped."""
        with self._lock:
            self._leftovers[step].remove(leftover)

    def rest(self) -> None:
        """Waits a moment between two looks, shorter where we are asked to stop."""
        if self.stopping.is_set():
            time.sleep(self.options.poll_seconds)
        else:
            self.stopping.wait(self.options.poll_seconds)

    def take_given_up(self, step: Step) -> GivenUp | None:
        """Why the attempt that ended now was given up, once; None when it was not."""
        with self._lock:
            return self._given_up.pop(step, None)

    def leave(self, step: Step) -> None:
        """Forgets the session of a step that has ended."""
        with self._lock:
            self._sessions.pop(step, None)
            self._given_up.pop(step, None)
            self._ended.discard(step)
            if step.index is not None:
                self._compiled.pop(step.index, None)

    def session(self, step: Step, *, lock_timeout_seconds: float = 0) -> Connection:
        """The BUILD session of a step: alone on the wire, the deadline as its orphan guard.

        Without a lock_timeout, which would protect nobody and end a build at its last wait.
        Raises: TargetError when the server does not come back within the reconnect budget; Halted when
        another system does.
        """
        subject = step.index.name if step.index is not None else step.table.relname
        connection = self._reach.connect(
            session_name(self.journal.run, subject),
            SessionLimits(
                statement_timeout_seconds=self.options.deadline_seconds,
                lock_timeout_seconds=lock_timeout_seconds,
            ),
        )
        if lock_timeout_seconds == 0:
            raise_deadlock_timeout(connection, _DEADLOCK_TIMEOUT_SECONDS)
        with self._lock:
            self._sessions[step] = connection
        return connection

    def connect_beside(self, purpose: str, limits: SessionLimits = _LOOKING) -> Connection:
        """A session beside the steps' own, for which the server may have to come back first.

        Raises: as `session`.
        """
        return self._reach.connect(f"{APPLICATION_NAME}-{purpose}/{self.journal.run}", limits)

    def beside(
        self,
        purpose: str,
        work: Callable[[Connection], Result],
        limits: SessionLimits = _LOOKING,
        *,
        step: Step | None = None,
    ) -> Result:
        """What `work` gives in a session of its own; begun anew where the session is lost.

        With `step` it cleans up after that: the session is watched as the step's own.

        Raises: as `session`; psycopg.Error for what is no lost connection.
        """
        losses = 0
        while True:
            with closing(self.connect_beside(purpose, limits)) as connection:
                if step is not None:
                    with self._lock:
                        self._cleaning[step] = connection.info.backend_pid
                try:
                    return work(connection)
                except psycopg.Error as error:
                    losses += 1
                    if not is_connection_lost(error) or losses >= _MOST_LOSSES:
                        raise
                finally:
                    if step is not None:
                        with self._lock:
                            self._cleaning.pop(step, None)
            time.sleep(self.options.poll_seconds)

    def pause(self, attempt: int) -> None:
        """Waits before the next attempt, unless asked to stop."""
        base_seconds = self.options.retry_base_seconds
        self.stopping.wait(delay_seconds(attempt, base_seconds=base_seconds, jitter=random.random()))  # noqa: S311 - no secret

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

    def record_action(self, step: Step, detail: dict[str, Any]) -> None:
        """Tells the journal what is done to a session, in the phase that the index is in."""
        name = step.index.name if step.index is not None else None
        latest = self.journal.latest().get(name)
        # The step goes on: its phase stands as it did, with what was known of it.
        self.journal.append(
            Phase(latest.phase) if latest is not None else Phase.BUILDING,
            EventStatus.IN_PROGRESS,
            index_name=name,
            attempt=latest.attempt if latest is not None else 1,
            definition=latest.definition if latest is not None else None,
            detail=detail,
        )

    def _table(self, connection: Connection, name: RelationName) -> TableFacts:
        table = read_table(connection, name)
        if table is None:
            raise ExporterError(f"the table {name.quoted} is gone", hint="see who dropped or renamed it")
        return table
