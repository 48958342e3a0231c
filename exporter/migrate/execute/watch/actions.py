"""The actions of the policies, carried out: signals to sessions, and abandoned builds. Recorded and shown."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import psycopg

from exporter.migrate.execute.step_run import StepRun
from exporter.migrate.execute.watch.policy import Action, why_cancel_is_useless
from exporter.postgres.sessions.other_sessions import OtherSession, signal_session
from exporter.postgres.target import Connection, first_line

_PARTICIPLES = {"cancel": "cancelling", "terminate": "terminating"}


@dataclass(slots=True)
class ActionRunner:
    """Carries out actions: at most one signal of a kind to each transaction, for each step."""

    _sent: set[Hashable] = field(default_factory=set)

    def carry_out(self, connection: Connection, run: StepRun, action: Action) -> None:
        """Carry out one action for the step."""
        if action.session is not None and action.signal is not None:
            self._signal(connection, run, action.session, action.signal, action.reason)
        else:
            run.abandon(action.reason, may_retry=action.is_yield)

    def _signal(
        self, connection: Connection, run: StepRun, session: OtherSession, signal: str, reason: str
    ) -> None:
        key = (run.step, signal, session.pid, session.backend_start, session.xact_start)
        if key in self._sent:
            return
        detail = {"action": signal, "because": reason, "session": session.as_detail()}
        run.record_action(detail)
        self._sent.add(key)
        run.note(f"{_PARTICIPLES[signal]} {session.described}: {reason}")
        try:
            was_there = signal_session(connection, session, signal)
        except psycopg.Error as error:
            outcome = f"refused: {first_line(error)}"
            if error.sqlstate is None:
                raise
        else:
            outcome = "signalled" if was_there else "already gone"
        hint = why_cancel_is_useless(session) if signal == "cancel" and outcome == "signalled" else None
        run.record_action(detail | {"outcome": outcome})
        run.note(f"{session.name}: {outcome}" + (f"; {hint}" if hint else ""))
