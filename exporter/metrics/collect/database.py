"""The collectors of one database, in their order, and the connection that they use.

Counters come first because reading them never waits for a lock; sizes and definitions come last, because
they can.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from exporter.metrics.collect.collection import DatabaseCollection, Publish, unknown_snapshot
from exporter.metrics.collect.collectors.builds import BuildsCollector
from exporter.metrics.collect.collectors.definitions import DefinitionsCollector
from exporter.metrics.collect.collectors.epoch import EpochCollector
from exporter.metrics.collect.collectors.indexes import IndexesCollector
from exporter.metrics.collect.collectors.journal import JournalCollector
from exporter.metrics.collect.collectors.locks import LocksCollector
from exporter.metrics.collect.collectors.server import ServerCollector
from exporter.metrics.collect.collectors.sizes import SizesCollector
from exporter.metrics.collect.collectors.statements import StatementsCollector
from exporter.metrics.collect.collectors.tables import TablesCollector
from exporter.metrics.collect.connection import PersistentConnection, is_same_session
from exporter.metrics.collect.context import CollectOptions, Collector, Limit
from exporter.metrics.snapshot import DatabaseSnapshot
from exporter.model import Database
from exporter.postgres.server.discovery import read_databases
from exporter.postgres.target import SessionLimits, mapped_errors

# A lock that is not free at once belongs to a DDL statement: a gap is better than the wait.
LOCK_TIMEOUT_SECONDS = 0.1


def make_collectors(options: CollectOptions) -> tuple[Collector, ...]:
    """The collectors of one database, in the order in which they are asked."""
    statements = StatementsCollector(
        options.max_statements, query_text=options.query_text, query_text_length=options.query_text_length
    )
    return (
        ServerCollector(),
        IndexesCollector(options.max_indexes),
        TablesCollector(),
        BuildsCollector(),
        JournalCollector(options.journal_schema),
        EpochCollector(),
        *((statements,) if options.max_statements else ()),
        LocksCollector(),
        SizesCollector(),
        DefinitionsCollector(),
    )


class DatabaseCollector:
    """Collects one database over one persistent connection; one thread at a time."""

    def __init__(self, database: Database, options: CollectOptions) -> None:
        self._options = options
        self._connection = PersistentConnection(
            database,
            SessionLimits(
                connect_timeout_seconds=options.connect_timeout_seconds,
                statement_timeout_seconds=options.statement_timeout_seconds,
                lock_timeout_seconds=LOCK_TIMEOUT_SECONDS,
            ),
        )
        self._database = database
        self._collectors = make_collectors(options)
        self._last_success: dict[str, float] = {}
        self._collecting = threading.Lock()
        self._closed = False

    @property
    def database(self) -> Database:
        """The database as the last settings describe it."""
        return self._database

    @property
    def is_connected(self) -> bool:
        """True when there is a connection that is not known to be dead."""
        return self._connection.is_open

    def serves(self, database: Database, options: CollectOptions) -> bool:
        """True when `rebind` suffices to collect that database within those bounds."""
        return options == self._options and is_same_session(database, self._database)

    def rebind(self, database: Database) -> None:
        """Take what is declared and watched, and how to connect, from the next collection on."""
        self._database = database
        self._connection.rebind(database)

    def read_databases(self) -> dict[str, int]:
        """The oids of all databases of this server that can be connected to, by their names.

        Raises: TargetError.
        """
        with self._working():
            pipeline = self._connection.get()
            with mapped_errors(self._database):
                return read_databases(pipeline.connection)

    def unknown(self, database: Database) -> DatabaseSnapshot:
        """The snapshot before anything was asked."""
        return unknown_snapshot(database, self._collectors, self._last_success)

    def collect(self, limit: Limit, publish: Publish) -> None:
        """Publish the snapshot as it grows; start no statement once the limit is over."""
        with self._working():
            DatabaseCollection(
                self._database, self._collectors, self._connection, self._last_success, limit, publish
            ).run()

    def cancel(self) -> None:
        """Cancel the running statement on the server; for the thread that watches the deadline."""
        self._connection.cancel()

    def shut_down(self) -> None:
        """End the connection to a server that does not even answer the cancel request."""
        self._connection.shut_down()

    def close(self) -> None:
        """End the connection; a collection that still runs loses it and closes it then."""
        self._closed = True
        if self._collecting.acquire(blocking=False):
            try:
                self._connection.close()
            finally:
                self._collecting.release()
        else:
            self._connection.shut_down()

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """Keep other threads from using or closing the connection meanwhile."""
        try:
            with self._collecting:
                yield
        finally:
            # Closed meanwhile: only the thread that used the connection can end it safely.
            if self._closed:
                self.close()
