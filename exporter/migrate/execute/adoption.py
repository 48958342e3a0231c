"""Work of a run of this tool that goes on in the server: followed to its end, and ended where need be.

A run that lives looks after its work itself, and is only waited for. What a dead run began is in the care of
the run that follows it: its policies, budgets and deadline hold, and Ctrl-C ends it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import psycopg

from exporter.errors import ExporterError
from exporter.migrate.execute.step_run import Site
from exporter.migrate.execute.work import Followed
from exporter.model import ObservedIndex, Step
from exporter.postgres.relations.tables import TableFacts, read_table
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


def follow(site: Site, step: Step, connection: Connection, observed: ObservedIndex) -> None:
    """Waits until the process that works on the index, for us or for another run, ends or we stop."""
    work = _read(connection, observed)
    if work is None:
        return
    following = _Following(site, step, connection)
    live = "; its own run lives and looks after it" if following.is_of_live_run(work) else ""
    site.on_note(step, f"following the {_kind_of(work)} by pid {work.pid} in the server{live}")
    try:
        while work is not None and following.goes_on(work):
            site.rest()
            work = _read(connection, observed)
    finally:
        site.follow(step, None)


def wait_until_free(site: Site, step: Step, connection: Connection, observed: ObservedIndex) -> None:
    """Waits within the cleanup budget for a stranger that holds the table, whatever asks us to stop."""
    site.on_note(step, f"cleaning up waits for the table: {observed.detail}")
    deadline = time.monotonic() + site.options.cleanup_budget_seconds
    while time.monotonic() < deadline and _read(connection, observed) is not None:
        time.sleep(site.options.poll_seconds)


def try_lock_table(connection: Connection, step: Step) -> bool:
    """True when the session holds this tool's lock of the step's table; nobody is waited for."""
    return acquire_table_lock(connection, _table(connection, step).relid, budget_seconds=0)


def lock_table(site: Site, step: Step, connection: Connection) -> bool:
    """True when the session holds this tool's lock of the step's table, until it ends.

    A holder that builds is waited for: what another run, alive or dead, began is there afterwards.
    """
    table = _table(connection, step)
    following = _Following(site, step, connection)
    told: set[int] = set()

    def tell(holder: LockHolder) -> None:
        work = read_tool_session(connection, holder.pid, table.relid) if holder.is_active else None
        if work is None:
            return
        if holder.pid not in told:
            told.add(holder.pid)
            name = holder.application_name or "no name"
            site.on_note(step, f"another run works on the table (pid {holder.pid}, {name}): waiting for it")
        if work.is_at_work and _is_for(work, step):
            following.goes_on(work)

    try:
        return acquire_table_lock(
            connection,
            table.relid,
            budget_seconds=site.options.lock_budget_seconds,
            give_up=lambda: site.stopping.is_set() and not following.is_ending,
            on_held=tell,
        )
    finally:
        site.follow(step, None)


def _table(connection: Connection, step: Step) -> TableFacts:
    table = read_table(connection, step.table)
    if table is None:
        raise ExporterError(f"the table {step.table.quoted} is gone", hint="see who dropped or renamed it")
    return table


@dataclass(slots=True)
class _Following:
    """One step's care for the work that it follows."""

    site: Site
    step: Step
    connection: Connection
    is_refused: bool = field(default=False)

    @property
    def is_ending(self) -> bool:
        """True once the work was told to end: it is waited for, whatever asks us to stop."""
        return self.site.has_ended(self.step) and not self.is_refused

    def is_of_live_run(self, work: ToolSession) -> bool:
        return work.has_live_run and run_of(work.application_name) != self.site.journal.run

    def goes_on(self, work: ToolSession) -> bool:
        """True while the work is to be waited for; ends it where that is asked."""
        if not work.is_at_work:
            return False
        in_our_care = not self.is_of_live_run(work)
        may_end = in_our_care and not work.is_drop and not self.is_refused
        self.site.follow(self.step, Followed(work.pid, work.is_drop, in_our_care, may_end))
        deadline_seconds = self.site.options.deadline_seconds
        if may_end and (work.working_seconds or 0.0) >= deadline_seconds:
            reason = f"it has run for more than {shown_duration(deadline_seconds)}"
            self.site.give_up(self.step, reason, try_again=False)
        reason_to_end = self.site.reason_to_end(self.step)
        if may_end and reason_to_end is not None:
            self._end(work, reason_to_end)
        return self.is_ending or not self.site.stopping.is_set()

    def _end(self, work: ToolSession, reason: str) -> None:
        """Asks again with every look: a cancel that comes between two statements is lost."""
        detail = {
            "action": "cancel",
            "because": reason,
            "session": {"pid": work.pid, "application_name": work.application_name},
        }
        is_first = not self.site.has_ended(self.step)
        if is_first:
            self.site.record_action(self.step, detail)
        self.site.mark_ended(self.step)
        try:
            cancel_tool_session(self.connection, work)
        except psycopg.errors.InsufficientPrivilege as error:
            self.is_refused = True
            outcome = f"refused: {first_line(error)}"
        else:
            outcome = "told"
        if is_first or self.is_refused:
            self.site.record_action(self.step, detail | {"outcome": outcome})
            self.site.on_note(self.step, f"cancelling the {_kind_of(work)} by pid {work.pid}: {outcome}")


def _read(connection: Connection, observed: ObservedIndex) -> ToolSession | None:
    """The process that works on the index while it does."""
    if observed.builder_pid is None:
        return None
    work = read_tool_session(connection, observed.builder_pid, observed.relid)
    return work if work is not None and work.is_at_work else None


def _is_for(work: ToolSession, step: Step) -> bool:
    """True when that session is one that works on the step's very index."""
    run = run_of(work.application_name)
    if run is None or step.index is None or not work.application_name.startswith(f"{APPLICATION_NAME}/"):
        return False
    return work.application_name == session_name(run, step.index.name)


def _kind_of(work: ToolSession) -> str:
    return "drop" if work.is_drop else "build"
