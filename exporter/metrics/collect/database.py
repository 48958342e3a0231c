"""Database -> DatabaseSnapshot: in which order it is asked, within which time, and what a failure leaves.

Counters come first because reading them never waits for a lock; sizes and definitions come last, because
they can. A collector that fails leaves a gap with its reason and never takes another one with it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import psycopg

from exporter.catalogue.metrics import COLLECTORS
from exporter.errors import ExporterError, TargetError
from exporter.metrics.collect.collectors import Parts
from exporter.metrics.collect.connection import WarmConnection, is_same_session
from exporter.metrics.collect.draft import CollectOptions, Draft
from exporter.metrics.snapshot import CollectorOutcome, DatabaseSnapshot
from exporter.model import Database
from exporter.postgres.server.discovery import read_databases
from exporter.postgres.target import Connection, SessionLimits, describe_error, mapped_errors

# A lock that is not free at once is somebody's DDL: a gap is better than the wait.
LOCK_TIMEOUT_SECONDS = 0.1
# What is worth to be written to a page while the rest is read.
COUNTERS = frozenset(("indexes", "tables"))


class DatabaseCollector:
    """Collects one database over one warm connection; one thread at a time."""

    def __init__(self, database: Database, options: CollectOptions) -> None:
        self._options = options
        self._warm = WarmConnection(
            database,
            SessionLimits(
                connect_timeout_seconds=options.connect_timeout_seconds,
                statement_timeout_seconds=options.statement_timeout_seconds,
                lock_timeout_seconds=LOCK_TIMEOUT_SECONDS,
            ),
        )
        self._parts = Parts(database, options)
        self._last_success: dict[str, float] = {}
        self._collecting = threading.Lock()
        self._closed = False

    @property
    def database(self) -> Database:
        """The database as the last settings describe it."""
        return self._parts.database

    @property
    def is_connected(self) -> bool:
        """True when there is a connection that was not found dead."""
        return self._warm.is_open

    def serves(self, database: Database, options: CollectOptions) -> bool:
        """True when `rebind` suffices to collect that database within those bounds."""
        return options == self._options and is_same_session(database, self.database)

    def rebind(self, database: Database) -> None:
        """What is declared and watched, and how to connect next, from the next collection on."""
        self._parts.rebind(database)
        self._warm.rebind(database)

    def read_databases(self) -> dict[str, int]:
        """The oids of all databases of this server that can be connected to, by their names.

        Raises: TargetError.
        """
        with self._working():
            connection = self._warm.get()
            with mapped_errors(self.database):
                return read_databases(connection)

    def collect(self, draft: Draft, deadline: float) -> None:
        """Fills the draft, part by part, and starts none after `deadline` (of time.monotonic()) or a cut."""
        draft.deadline = deadline
        with self._working():
            self._collect(draft)

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """Nobody else uses the connection meanwhile, or closes it under us."""
        try:
            with self._collecting:
                yield
        finally:
            # Closed meanwhile: only the thread that used the connection can end it safely.
            if self._closed:
                self.close()

    def _collect(self, draft: Draft) -> None:
        was_open = self._warm.is_open
        try:
            connection = self._warm.get()
            self._run("server", connection, draft)
            # A connection that died since the last collection says nothing about the server.
            if connection.closed and was_open and not draft.is_over:
                connection = self._warm.get()
                self._run("server", connection, draft)
        except TargetError as error:
            self._fail_everything(draft, error)
            return
        for name in COLLECTORS[1:]:
            if name not in self._parts.by_name:
                continue
            if connection.closed:
                self._note(draft, name, None, "the connection was lost")
            elif draft.is_over:
                self._note(draft, name, None, "not reached before the deadline")
            else:
                self._run(name, connection, draft)
                if name in COUNTERS:
                    draft.tell()
        draft.lost = draft.lost or connection.closed

    def interrupt(self) -> None:
        """Cancels the running statement on the server; for the thread that watches the deadline."""
        self._warm.interrupt()

    def sever(self, draft: Draft) -> None:
        """Gives up a server that does not even answer the cancel request."""
        draft.lost = True
        self._warm.sever()

    def close(self) -> None:
        """Ends the connection; a collection that still runs is given up and ends it then."""
        self._closed = True
        if self._collecting.acquire(blocking=False):
            try:
                self._warm.close()
            finally:
                self._collecting.release()
        else:
            self._warm.sever()

    def freeze(self, draft: Draft) -> DatabaseSnapshot:
        """What the draft holds now; a collector without an outcome yet did not reach its end."""
        outcomes = dict(draft.outcomes)
        for name in self._parts.by_name:
            if name not in outcomes:
                outcomes[name] = CollectorOutcome(
                    name, False, None, self._last_success.get(name), "did not end before the deadline"
                )
        return DatabaseSnapshot(
            datname=self.database.datname,
            up=draft.answered and not draft.lost,
            declared=self._parts.declared,
            outcomes=tuple(outcomes[name] for name in COLLECTORS if name in outcomes),
            facts=draft.facts,
            walsenders=draft.walsenders,
            indexes=draft.indexes,
            indexes_cut=draft.indexes_cut,
            tables=draft.tables,
            builds=draft.builds,
            observed_since=draft.observed_since,
            locked=draft.locked,
            definition_matches=draft.definition_matches,
            sizes=draft.sizes,
            statements=draft.statements,
            statements_cut=draft.statements_cut,
            statements_info=draft.statements_info,
            query_texts=draft.query_texts,
        )

    def _run(self, name: str, connection: Connection, draft: Draft) -> None:
        started = time.monotonic()
        try:
            reason = self._parts.by_name[name](connection, draft)
        except psycopg.Error as error:
            reason = str(describe_error(self.database, error).what)
            draft.answered = draft.answered or not connection.closed
        except ExporterError as error:
            reason = error.what
        else:
            draft.answered = True
        self._note(draft, name, time.monotonic() - started, reason)

    def _note(
        self, draft: Draft, name: str, seconds: float | None, reason: str | None, hint: str | None = None
    ) -> None:
        if reason is None:
            self._last_success[name] = time.time()
        draft.outcomes[name] = CollectorOutcome(
            name, reason is None, seconds, self._last_success.get(name), reason, hint
        )

    def _fail_everything(self, draft: Draft, error: TargetError) -> None:
        for name in self._parts.by_name:
            self._note(draft, name, None, error.what, error.hint)
