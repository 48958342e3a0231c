"""Sessions of a run to the one system on which it began, for which that may have to come back first."""

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
class Reach:
    """Opens sessions, from any thread. `identity` is the system where the work began, None: the first."""

    database: Database
    options: StepOptions
    identity: SystemIdentity | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def connect(self, application_name: str, limits: SessionLimits) -> Connection:
        """A session that may write, for which the server may have to come back first.

        Raises: TargetError when it does not within the reconnect budget; Halted when another system does.
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
