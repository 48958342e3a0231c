"""What all steps of a run in one database share: journal, options, new sessions and the order to stop."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import InitVar, dataclass, field
from typing import TypeVar

import psycopg

from exporter.migrate.execute.attempt import is_connection_lost
from exporter.migrate.execute.reconnect import Reconnector
from exporter.migrate.execute.sqlstates import delay_seconds
from exporter.migrate.options import StepOptions
from exporter.model import Database, Step
from exporter.postgres.journal import Journal
from exporter.postgres.server.identity import SystemIdentity
from exporter.postgres.target import APPLICATION_NAME, Connection, SessionLimits

# After so many lost sessions in one piece of work, the next loss is an error.
_MOST_LOST_SESSIONS = 5
# Ends a catalogue read that something unforeseen blocks.
READ_LIMITS = SessionLimits(statement_timeout_seconds=60.0)

Result = TypeVar("Result")


@dataclass(slots=True)
class ExecutionContext:
    """What all steps of a run share; every thread of the run uses it at the same time.

    `identity` is the system on which the run began: a session to another system is refused. `stopping` is
    set once no new attempt may start.
    """

    database: Database
    journal: Journal
    options: StepOptions
    on_note: Callable[[Step, str], None]
    identity: InitVar[SystemIdentity | None] = None
    stopping: threading.Event = field(default_factory=threading.Event)
    _reconnector: Reconnector = field(init=False)

    def __post_init__(self, identity: SystemIdentity | None) -> None:
        self._reconnector = Reconnector(self.database, self.options, identity)

    def connect(self, application_name: str, limits: SessionLimits) -> Connection:
        """Return a session that may write; waits until the server is back.

        Raises: TargetError after the reconnect budget; Halted if another system answers.
        """
        return self._reconnector.connect(application_name, limits)

    def connect_for(self, purpose: str, limits: SessionLimits = READ_LIMITS) -> Connection:
        """Return a session beside those of the steps, named after its purpose.

        Raises: as `connect`.
        """
        return self.connect(f"{APPLICATION_NAME}-{purpose}/{self.journal.run}", limits)

    def run_in_session(
        self, purpose: str, work: Callable[[Connection], Result], limits: SessionLimits = READ_LIMITS
    ) -> Result:
        """Return the result of `work` in a session of its own; starts again if the session is lost.

        Raises: as `connect`; psycopg.Error for every error but a lost session.
        """
        lost_count = 0
        while True:
            with closing(self.connect_for(purpose, limits)) as connection:
                try:
                    return work(connection)
                except psycopg.Error as error:
                    lost_count += 1
                    if not is_connection_lost(error) or lost_count >= _MOST_LOST_SESSIONS:
                        raise
            time.sleep(self.options.poll_seconds)

    def wait_for_next_poll(self) -> None:
        """Wait one poll interval, also while the run stops; the order to stop ends the wait early."""
        if self.stopping.is_set():
            time.sleep(self.options.poll_seconds)
        else:
            self.stopping.wait(self.options.poll_seconds)

    def wait_for_next_attempt(self, attempt: int) -> None:
        """Wait before the attempt after this one, or until the run stops."""
        base_seconds = self.options.retry_base_seconds
        self.stopping.wait(delay_seconds(attempt, base_seconds=base_seconds, jitter=random.random()))  # noqa: S311 - no secret
