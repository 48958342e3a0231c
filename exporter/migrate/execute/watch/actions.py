"""Carries out what the policies decided: signals to sessions, and builds that give up. Journalled, shown."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg

from exporter.migrate.execute.step_run import Site
from exporter.migrate.execute.watch.policy import Move, unlikely_to_help
from exporter.model import Step
from exporter.postgres.sessions.other_sessions import OtherSession, signal_session
from exporter.postgres.target import Connection, first_line


@dataclass(slots=True)
class Actor:
    """Acts once on every session in the same transaction, and once on every attempt of a build."""

    site: Site
    _done: set[tuple[object, ...]] = field(default_factory=set)

    def act(self, connection: Connection, step: Step, move: Move) -> None:
        """Carries out one move."""
        if move.session is not None and move.signal is not None:
            self._signal(connection, step, move.session, move.signal, move.reason)
        else:
            self.site.give_up(step, move.reason, try_again=move.is_yield)

    def _signal(
        self, connection: Connection, step: Step, session: OtherSession, signal: str, reason: str
    ) -> None:
        key = (step, signal, session.pid, session.backend_start, session.xact_start)
        if key in self._done:
            return
        detail = {"action": signal, "because": reason, "session": session.as_detail()}
        self.site.record_action(step, detail)
        self._done.add(key)
        self.site.on_note(step, f"{_DOING[signal]} {session.described}: {reason}")
        try:
            was_there = signal_session(connection, session, signal)
        except psycopg.Error as error:
            outcome = f"refused: {first_line(error)}"
            if error.sqlstate is None:
                raise
        else:
            outcome = "told" if was_there else "gone already"
        hint = unlikely_to_help(session) if signal == "cancel" and outcome == "told" else None
        self.site.record_action(step, detail | {"outcome": outcome})
        self.site.on_note(step, f"{session.name}: {outcome}" + (f"; {hint}" if hint else ""))


_DOING = {"cancel": "cancelling", "terminate": "terminating"}
