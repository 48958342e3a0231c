"""Work that another run of this tool left in the server: followed to its end, and cancelled if necessary.

The work of a run that lives is only waited for: that run manages it. The work of a dead run is managed by
the run that follows it, with its own policies, budgets, deadline and Ctrl-C.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import psycopg

from exporter.migrate.execute.processes import FollowedProcess
from exporter.migrate.execute.step_run import StepRun, require_table
from exporter.model import ObservedIndex, Step
from exporter.postgres.sessions.locks import LockHolder, acquire_table_lock
from exporter.postgres.sessions.other_sessions import shown_duration
from exporter.postgres.sessions.tool_sessions import (
    ToolSession,
    cancel_tool_session,
    read_tool_session,
    run_of,
    session_name,
)
from exporter.postgres.target import APPLICATION_NAME, Connection, first_line


def follow(run: StepRun, connection: Connection, observed: ObservedIndex) -> None:
    """Wait until the process of this tool that works on the index ends, or the run stops."""
    session = _read_working(connection, observed)
    if session is None:
        return
    adoption = _Adoption(run, connection)
    live = "; its own run is alive and manages it" if adoption.is_of_live_run(session) else ""
    run.note(f"following the {_kind_of(session)} by pid {session.pid} in the server{live}")
    try:
        while session is not None and adoption.goes_on(session):
            run.context.wait_for_next_poll()
            session = _read_working(connection, observed)
    finally:
        run.follow(None)


def wait_until_free(run: StepRun, connection: Connection, observed: ObservedIndex) -> None:
    """Wait within the cleanup budget for a foreign session that holds the table, also if the run stops."""
    run.note(f"cleaning up waits for the table: {observed.detail}")
    deadline = time.monotonic() + run.context.options.cleanup_budget_seconds
    while time.monotonic() < deadline and _read_working(connection, observed) is not None:
        time.sleep(run.context.options.poll_seconds)


def try_lock_table(run: StepRun, connection: Connection) -> bool:
    """Return True if the session holds this tool's lock of the step's table; does not wait."""
    return acquire_table_lock(connection, require_table(connection, run.step.table).relid, budget_seconds=0)


def lock_table(run: StepRun, connection: Connection) -> bool:
    """Return True if the session holds this tool's lock of the step's table, until the session ends.

    Waits for a holder that builds: what another run started, alive or dead, is there afterwards.
    """
    table = require_table(connection, run.step.table)
    adoption = _Adoption(run, connection)
    noted_pids: set[int] = set()

    def on_held(holder: LockHolder) -> None:
        session = read_tool_session(connection, holder.pid, table.relid) if holder.is_active else None
        if session is None:
            return
        if holder.pid not in noted_pids:
            noted_pids.add(holder.pid)
            name = holder.application_name or "no name"
            run.note(f"another run works on the table (pid {holder.pid}, {name}): waiting for it")
        if session.is_at_work and _is_for(session, run.step):
            adoption.goes_on(session)

    try:
        return acquire_table_lock(
            connection,
            table.relid,
            budget_seconds=run.context.options.lock_budget_seconds,
            give_up=lambda: run.context.stopping.is_set() and not adoption.is_ending,
            on_held=on_held,
        )
    finally:
        run.follow(None)


@dataclass(slots=True)
class _Adoption:
    """The management of the process that one step follows."""

    run: StepRun
    connection: Connection
    is_cancel_refused: bool = field(default=False)

    @property
    def is_ending(self) -> bool:
        """True once the process was asked to cancel: it is waited for, also if the run stops."""
        return self.run.is_followed_cancelled and not self.is_cancel_refused

    def is_of_live_run(self, session: ToolSession) -> bool:
        """True if another run that is alive manages the session."""
        return session.has_live_run and run_of(session.application_name) != self.run.context.journal.run

    def goes_on(self, session: ToolSession) -> bool:
        """Return True while the session is to be waited for; cancel it where that was asked for."""
        if not session.is_at_work:
            return False
        is_managed = not self.is_of_live_run(session)
        may_cancel = is_managed and not session.is_drop and not self.is_cancel_refused
        self.run.follow(FollowedProcess(session.pid, session.is_drop, is_managed, may_cancel))
        deadline_seconds = self.run.context.options.deadline_seconds
        if may_cancel and (session.working_seconds or 0.0) >= deadline_seconds:
            reason = f"it has run for more than {shown_duration(deadline_seconds)}"
            self.run.abandon(reason, may_retry=False)
        reason_to_cancel = self.run.reason_to_cancel_followed()
        if may_cancel and reason_to_cancel is not None:
            self._cancel(session, reason_to_cancel)
        return self.is_ending or not self.run.context.stopping.is_set()

    def _cancel(self, session: ToolSession, reason: str) -> None:
        """Cancel the session's statement; again at every poll, as a cancel between two statements is lost."""
        detail = {
            "action": "cancel",
            "because": reason,
            "session": {"pid": session.pid, "application_name": session.application_name},
        }
        is_first = not self.run.is_followed_cancelled
        if is_first:
            self.run.record_action(detail)
        self.run.set_followed_cancelled(is_cancelled=True)
        try:
            cancel_tool_session(self.connection, session)
        except psycopg.errors.InsufficientPrivilege as error:
            self.is_cancel_refused = True
            outcome = f"refused: {first_line(error)}"
        else:
            outcome = "signalled"
        if is_first or self.is_cancel_refused:
            self.run.record_action(detail | {"outcome": outcome})
            self.run.note(f"cancelling the {_kind_of(session)} by pid {session.pid}: {outcome}")


def _read_working(connection: Connection, observed: ObservedIndex) -> ToolSession | None:
    """Return the session that works on the index; None once it does not."""
    if observed.builder_pid is None:
        return None
    session = read_tool_session(connection, observed.builder_pid, observed.relid)
    return session if session is not None and session.is_at_work else None


def _is_for(session: ToolSession, step: Step) -> bool:
    """Return True if the session works on the index of the step."""
    run_id = run_of(session.application_name)
    if run_id is None or step.index is None:
        return False
    if not session.application_name.startswith(f"{APPLICATION_NAME}/"):
        return False
    return session.application_name == session_name(run_id, step.index.name)


def _kind_of(session: ToolSession) -> str:
    return "drop" if session.is_drop else "build"
