"""One step of a plan against one database: run it, look at the catalogue, clean up, try again or say why not.

The catalogue decides how a step ended, never the client's error. Deciding what to do is the plan's; this
room only carries it out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field

import psycopg

from exporter.errors import ExporterError, TargetError
from exporter.migrate.reconcile import observe_index
from exporter.model import (
    Database,
    DeclaredIndex,
    IndexState,
    ObservedIndex,
    Step,
    StepKind,
    StepResult,
    StepStatus,
)
from exporter.postgres import ddl
from exporter.postgres.catalog import compile_index, read_table
from exporter.postgres.journal import EventStatus, Journal, Phase
from exporter.postgres.locks import acquire_table_lock
from exporter.postgres.progress import read_builds
from exporter.postgres.target import (
    APPLICATION_NAME,
    Connection,
    SessionLimits,
    connect,
    first_line,
)

# The server's state changed under the statement; the same statement may succeed a moment later.
# 57014 is not among them: a deadline would pass again, and a cancel was somebody's decision.
_TRANSIENT = {"40P01", "40001", "55P03", "57P01", "57P02", "57P03"}
# The machine itself is short of something: other steps would meet the same.
_HALTING = {"53100", "53200", "53400", "58030"}


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
class StepRunner:
    """Runs steps of one migration in one database; several threads may use it for different tables."""

    database: Database
    journal: Journal
    options: StepOptions
    on_note: Callable[[Step, str], None]
    stopping: threading.Event = field(default_factory=threading.Event)
    _active: dict[Step, Connection] = field(default_factory=dict)
    _active_lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, step: Step) -> StepResult:
        """How the step ended. Never raises for what the server says; the result holds it."""
        started = time.monotonic()
        try:
            match step.kind:
                case StepKind.ANALYZE:
                    ended = self._analyze(step)
                case StepKind.BUILD | StepKind.ADOPT:
                    ended = self._build(step, _index_of(step))
                case StepKind.DROP_INVALID | StepKind.DROP:
                    ended = self._drop(step, _index_of(step))
        except (psycopg.Error, ExporterError) as error:
            ended = _ended(StepStatus.HALTED, error)
        finally:
            with self._active_lock:
                self._active.pop(step, None)
        return StepResult(
            step,
            ended.status,
            time.monotonic() - started,
            attempts=ended.attempts,
            sqlstate=ended.sqlstate,
            message=ended.message,
            mend=ended.mend,
        )

    def active_pids(self) -> dict[int, Step]:
        """The server processes that work on steps now."""
        with self._active_lock:
            return {
                connection.info.backend_pid: step
                for step, connection in self._active.items()
                if not connection.closed
            }

    def cancel_active(self) -> None:
        """Asks the server to cancel what runs now; cleaning up goes on in the steps' own threads."""
        self.stopping.set()
        with self._active_lock:
            connections = list(self._active.values())
        for connection in connections:
            # A session that is gone needs no cancel; its step finds out by itself.
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=5)

    def _build(self, step: Step, index: DeclaredIndex) -> _Ended:
        attempt = 0
        last: _Ended | None = None
        while attempt < self.options.max_attempts and not self.stopping.is_set():
            attempt += 1
            with closing(self._session(step)) as connection:
                observed = self._observe(connection, index)
                if observed.state is IndexState.BUILDING_OURS:
                    self._follow(step, connection, observed)
                    observed = self._observe(connection, index)
                if observed.state is IndexState.PRESENT:
                    self._record(index, Phase.CATALOG_OK, attempt, observed)
                    return _Ended(StepStatus.DONE, attempt, message=observed.detail)
                refusal = self._lock_or_refuse(connection, observed)
                if refusal is not None:
                    return refusal
                error = self._create(connection, index, observed, attempt)
            last = self._settle(step, index, attempt, error)
            if last.status is not StepStatus.FAILED or not _is_transient(last.sqlstate):
                return last
            self.on_note(step, f"attempt {attempt} failed: {last.message}; nothing was left")
            self.stopping.wait(min(30.0, 2.0**attempt))
        return last or _Ended(StepStatus.SKIPPED, attempt, message="stopped before it began")

    def _lock_or_refuse(self, connection: Connection, observed: ObservedIndex) -> _Ended | None:
        if observed.state is IndexState.INVALID_OURS:
            ended = self._drop_invalid(observed.declared)
            if ended is not None:
                return ended
        elif observed.state is not IndexState.ABSENT:
            return _Ended(StepStatus.HALTED, message=observed.detail, mend="see `status`")
        if not acquire_table_lock(
            connection,
            observed.relid or 0,
            budget_seconds=self.options.lock_budget_seconds,
            give_up=self.stopping.is_set,
        ):
            return _Ended(
                StepStatus.HALTED,
                message="another run of this tool works on the table",
                mend="wait for it to end, then run init again",
            )
        return None

    def _create(
        self, connection: Connection, index: DeclaredIndex, observed: ObservedIndex, attempt: int
    ) -> psycopg.Error | None:
        self._record(index, Phase.LOCKED, attempt, observed)
        # The intent comes before the statement: whatever happens next, the index is known as ours.
        self._record(index, Phase.BUILDING, attempt, observed, EventStatus.IN_PROGRESS)
        try:
            ddl.run_single(connection, ddl.create_index(index))
        except psycopg.Error as error:
            return error
        return None

    def _settle(self, step: Step, index: DeclaredIndex, attempt: int, error: psycopg.Error | None) -> _Ended:
        """After a build, whatever the client heard: what stands in the catalogue, and cleaning it up."""
        observed = self._observe_patiently(index)
        if observed.state is IndexState.BUILDING_OURS:
            with closing(self._session(step)) as connection:
                self._follow(step, connection, observed)
            observed = self._observe_patiently(index)
        if observed.state is IndexState.PRESENT:
            self._record(index, Phase.CATALOG_OK, attempt, observed)
            return _Ended(StepStatus.DONE, attempt)
        status = StepStatus.HALTED if _sqlstate(error) in _HALTING else StepStatus.FAILED
        ended = _ended(status, error, attempt)
        if observed.state is IndexState.INVALID_OURS:
            leftover = self._drop_invalid(index)
            if leftover is not None:
                return leftover
        self._record(index, Phase.BUILDING, attempt, observed, EventStatus.FAILED, ended.message)
        return ended

    def _drop(self, step: Step, index: DeclaredIndex) -> _Ended:
        if step.kind is StepKind.DROP_INVALID:
            return self._drop_invalid(index) or _Ended(StepStatus.DONE)
        with closing(self._session(step)) as connection:
            observed = self._observe(connection, index)
            if observed.state is IndexState.ABSENT:
                return _Ended(StepStatus.DONE, message="already absent")
            # A drop that stops half-way leaves a valid index INVALID: on record before it begins.
            self._record(index, Phase.DROPPING, 1, observed, EventStatus.IN_PROGRESS)
            try:
                connection.execute(ddl.drop_index(index.relation))
            except psycopg.Error as error:
                failure: psycopg.Error | None = error
            else:
                failure = None
        observed = self._observe_patiently(index)
        if observed.state in (IndexState.ABSENT, IndexState.COVERED):
            self._record(index, Phase.DROPPED, 1, observed)
            return _Ended(StepStatus.DONE)
        if observed.state is IndexState.PRESENT:
            self._record(index, Phase.DROPPING, 1, observed, EventStatus.FAILED)
            return _ended(StepStatus.FAILED, failure)
        self._record(index, Phase.DROPPING, 1, observed, EventStatus.LEFT_BEHIND)
        return _Ended(
            StepStatus.LEFT_BEHIND,
            sqlstate=_sqlstate(failure),
            message=f"the drop stopped half-way, {index.relation.quoted} is INVALID now",
            mend="run rollback again, or repair it: REINDEX INDEX CONCURRENTLY " + index.relation.quoted,
        )

    def _drop_invalid(self, index: DeclaredIndex) -> _Ended | None:
        """None when the INVALID leftover is gone, else what remains and how to remove it."""
        limits = SessionLimits(
            statement_timeout_seconds=self.options.cleanup_budget_seconds, lock_timeout_seconds=0
        )
        message = "is still there"
        with closing(self._connect_patiently("cleanup", limits)) as connection:
            observed = self._observe(connection, index)
            self._record(index, Phase.CLEANUP, 1, observed, EventStatus.IN_PROGRESS)
            try:
                connection.execute(ddl.drop_index(index.relation))
            except psycopg.Error as error:
                message = f"could not be dropped: {first_line(error)}"
            observed = self._observe(connection, index)
        if observed.state in (IndexState.ABSENT, IndexState.COVERED):
            self._record(index, Phase.CLEANUP, 1, observed)
            return None
        self._record(index, Phase.CLEANUP, 1, observed, EventStatus.LEFT_BEHIND, message)
        return _Ended(
            StepStatus.LEFT_BEHIND,
            message=f"the INVALID index {index.relation.quoted} {message}",
            mend="end what blocks it, then run init again, or: "
            + ddl.as_text(ddl.drop_index(index.relation)),
        )

    def _analyze(self, step: Step) -> _Ended:
        warnings: list[str] = []
        with closing(self._session(step)) as connection:
            connection.add_notice_handler(
                lambda notice: (
                    warnings.append(notice.message_primary or "")
                    if notice.severity_nonlocalized == "WARNING"
                    else None
                )
            )
            try:
                connection.execute(ddl.analyze(step.table))
            except psycopg.Error as error:
                return _ended(StepStatus.FAILED, error)
        if warnings:
            # A table that may not be analyzed is skipped with a warning and success.
            return _Ended(StepStatus.FAILED, message=warnings[0], mend="run as the owner of the table")
        return _Ended(StepStatus.DONE)

    def _follow(self, step: Step, connection: Connection, observed: ObservedIndex) -> None:
        """Waits until the build that runs in the server ends."""
        self.on_note(step, f"following the build by pid {observed.builder_pid} in the server")
        while not self.stopping.is_set():
            builds = read_builds(connection)
            if not any(build.pid == observed.builder_pid for build in builds):
                return
            self.stopping.wait(self.options.poll_seconds)

    def _observe(self, connection: Connection, index: DeclaredIndex) -> ObservedIndex:
        table = read_table(connection, index.table)
        if table is None:
            raise ExporterError(
                f"the table {index.table.quoted} is gone", mend="see who dropped or renamed it"
            )
        compiled = compile_index(connection, index)
        return observe_index(connection, index, compiled, table, self.journal.created())

    def _observe_patiently(self, index: DeclaredIndex) -> ObservedIndex:
        """Where the index stands, asked on a new connection that may have to wait for the server."""
        with closing(self._connect_patiently("reconcile", SessionLimits())) as connection:
            return self._observe(connection, index)

    def _connect_patiently(self, purpose: str, limits: SessionLimits) -> Connection:
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

    def _session(self, step: Step) -> Connection:
        """The BUILD session: alone on the wire, no lock_timeout, the deadline as its orphan guard."""
        subject = step.index.name if step.index is not None else step.table.relname
        prefix = f"{APPLICATION_NAME}/{self.journal.run}/"
        connection = connect(
            self.database,
            application_name=prefix + subject.encode()[: 63 - len(prefix)].decode(errors="ignore"),
            read_only=False,
            limits=SessionLimits(
                statement_timeout_seconds=self.options.deadline_seconds, lock_timeout_seconds=0
            ),
        )
        with self._active_lock:
            self._active[step] = connection
        return connection

    def _record(
        self,
        index: DeclaredIndex,
        phase: Phase,
        attempt: int,
        observed: ObservedIndex,
        status: EventStatus = EventStatus.DONE,
        message: str | None = None,
    ) -> None:
        detail = {"state": observed.state.value, "indexrelid": observed.indexrelid}
        self.journal.append(
            phase,
            status,
            index_name=index.name,
            attempt=attempt,
            definition=observed.definition,
            detail=detail | ({"message": message} if message else {}),
        )


@dataclass(frozen=True, slots=True)
class _Ended:
    status: StepStatus
    attempts: int = 1
    sqlstate: str | None = None
    message: str | None = None
    mend: str | None = None


def _ended(status: StepStatus, error: Exception | None, attempts: int = 1) -> _Ended:
    if isinstance(error, psycopg.Error):
        return _Ended(status, attempts, error.sqlstate, first_line(error))
    if isinstance(error, ExporterError):
        return _Ended(status, attempts, None, error.what, error.mend)
    return _Ended(status, attempts, None, "the statement ended, but the index is not there")


def _index_of(step: Step) -> DeclaredIndex:
    if step.index is None:
        raise ValueError(f"a step of kind {step.kind} names no index")
    return step.index


def _sqlstate(error: psycopg.Error | None) -> str | None:
    return error.sqlstate if error is not None else None


def _is_transient(sqlstate: str | None) -> bool:
    # Without a SQLSTATE the connection was lost before the server could answer.
    return sqlstate is None or sqlstate in _TRANSIENT or sqlstate.startswith("08")
