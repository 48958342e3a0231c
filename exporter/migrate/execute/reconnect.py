"""Sessions to the system on which a run began, opened again after the server was away."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import psycopg

from exporter.errors import TargetTimedOut, TargetUnreachable
from exporter.migrate.execute.attempt import is_connection_lost
from exporter.migrate.options import StepOptions
from exporter.model import Database
from exporter.postgres.server.identity import SystemIdentity, read_identity, require_same_system
from exporter.postgres.target import Connection, SessionLimits, connect


@dataclass(slots=True)
class Reconnector:
    """Opens sessions for any thread. `identity` is the system on which the run began, None until known."""

    database: Database
    options: StepOptions
    identity: SystemIdentity | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def connect(self, application_name: str, limits: SessionLimits) -> Connection:
        """Return a session that may write; waits until the server is back.

        Raises: TargetError after the reconnect budget; Halted if another system answers.
        """
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
