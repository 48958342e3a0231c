"""One persistent connection to one database: made when needed, replaced when dead, never more than one.

Used by one collecting thread at a time. `cancel` and `shut_down` are for another thread, which watches the
deadline: the first asks the server to stop what it does, the second no longer waits for an answer.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time

import psycopg
from psycopg.conninfo import conninfo_to_dict

from exporter.errors import TargetError
from exporter.model import Database
from exporter.postgres.pipeline import PREPARE_AT_USE, Pipeline
from exporter.postgres.target import (
    Connection,
    SessionLimits,
    connect,
    is_direct,
    mapped_errors,
    set_session,
)

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 5.0
CANCEL_SECONDS = 1.0
# How a session authenticates: a change of these leads to the same session.
SECRETS = frozenset(("password", "passfile", "sslpassword"))
# Our reads are short: compiling them or starting workers costs the server more than it saves.
SESSION = {"jit": "off", "max_parallel_workers_per_gather": "0", "idle_session_timeout": "0"}


class PersistentConnection:
    """The connection to one database, kept between collections."""

    def __init__(self, database: Database, limits: SessionLimits) -> None:
        self._database = database
        self._limits = limits
        self._connection: Connection | None = None
        self._pipeline: Pipeline | None = None
        self._lock = threading.Lock()
        self._failures = 0
        self._not_before = 0.0
        self._error: TargetError | None = None

    def rebind(self, database: Database) -> None:
        """Connect as `database` says from the next connection on, without a pause; an open one stays."""
        if database.conninfo != self._database.conninfo:
            self._failures, self._not_before, self._error = 0, 0.0, None
        self._database = database

    @property
    def is_open(self) -> bool:
        """True when there is a connection that is not known to be dead."""
        connection, pipeline = self._connection, self._pipeline
        is_broken = pipeline is not None and pipeline.is_broken
        return connection is not None and not connection.closed and not is_broken

    def get(self) -> Pipeline:
        """The reads of the open connection, of a new one when there is none.

        Raises: TargetError, the one of the last attempt while the next one has to wait.
        """
        if self._pipeline is not None and self.is_open:
            return self._pipeline
        self.close()
        if self._error is not None and time.monotonic() < self._not_before:
            # Without its traceback, which would grow with every time it is raised.
            raise self._error.with_traceback(None)
        try:
            connection = connect(self._database, limits=self._limits)
        except TargetError as error:
            self._wait_longer(error)
            raise
        with self._lock:
            self._connection = connection
        self._failures, self._error = 0, None
        try:
            with mapped_errors(self._database):
                set_session(connection, SESSION)
                # A pooler may send every statement to another process: it gets none that is prepared.
                direct = is_direct(connection)
                connection.prepare_threshold = PREPARE_AT_USE - 1 if direct else None
                self._pipeline = Pipeline(connection, is_pipelined=direct)
        except TargetError:
            self.close()
            raise
        return self._pipeline

    def cancel(self) -> None:
        """Ask the server to cancel the running statement."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        # A server that does not take the request is what `shut_down` is for.
        with contextlib.suppress(psycopg.Error, OSError):
            connection.cancel_safe(timeout=CANCEL_SECONDS)

    def shut_down(self) -> None:
        """End the connection while a thread waits for an answer on it."""
        with self._lock:
            connection = self._connection
            if connection is None or connection.closed:
                return
            # Closing the descriptor here could hand its number to another file while libpq polls it.
            with (
                contextlib.suppress(OSError, psycopg.Error),
                socket.socket(fileno=os.dup(connection.fileno())) as twin,
            ):
                twin.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection; the next `get` makes a new one."""
        with self._lock:
            connection, self._connection = self._connection, None
            self._pipeline = None
            if connection is not None:
                connection.close()

    def _wait_longer(self, error: TargetError) -> None:
        pause = min(FIRST_BACKOFF_SECONDS * 2**self._failures, LONGEST_BACKOFF_SECONDS)
        self._failures = min(self._failures + 1, 10)
        # Jitter, so that many exporters do not return to a restarted server at once.
        self._not_before = time.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
        self._error = error


def is_same_session(first: Database, second: Database) -> bool:
    """True when both lead to the same session: they differ in secrets at most."""
    if (first.datname, first.conninfo) == (second.datname, second.conninfo):
        return True
    return _without_secrets(first) == _without_secrets(second)


def _without_secrets(database: Database) -> dict[str, object]:
    parameters = conninfo_to_dict(database.conninfo.get_secret_value(), dbname=database.datname)
    return {keyword: value for keyword, value in parameters.items() if keyword not in SECRETS}
