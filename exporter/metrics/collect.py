"""Database -> DatabaseSnapshot: what is asked, in which order, and what a failure leaves.

Counters come first because reading them never waits for a lock; sizes and definitions come last, because
they can. A collector that fails leaves a gap with its reason and never takes another one with it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from exporter.errors import ExporterError, TargetError, TargetUnsupported
from exporter.metrics import reads
from exporter.metrics.catalogue import COLLECTORS
from exporter.metrics.epoch import Births
from exporter.metrics.rows import RowCache
from exporter.metrics.session import WarmConnection, is_same_session
from exporter.metrics.sizes import WRITES, Sizes, SizesRead
from exporter.metrics.snapshot import (
    CollectorOutcome,
    DatabaseSnapshot,
    IndexRow,
    StatementRow,
    StatementsInfo,
    TableRow,
    Watched,
)
from exporter.metrics.statements import StatementSelection
from exporter.model import Database, RelationName, ServerFacts
from exporter.postgres import servers
from exporter.postgres.discovery import read_databases
from exporter.postgres.progress import BuildProgress, read_builds
from exporter.postgres.target import Connection, SessionLimits, describe_error, mapped_errors, read_facts

# A lock that is not free at once is somebody's DDL: a gap is better than the wait.
LOCK_TIMEOUT_SECONDS = 0.1
# A renamed column changes a definition but not the index's catalogue rows.
DEFINITION_AGE_SECONDS = 60.0
# Of the time that is left when the sizes' turn comes, the part that asking for them may take.
SIZES_SHARE = 0.5
# What is worth to be written to a page while the rest is read.
COUNTERS = frozenset(("indexes", "tables"))
UNKNOWN_INDEXES = "the watched indexes are not known"


@dataclass(frozen=True, slots=True)
class CollectOptions:
    """What bounds a collection. Units: seconds, characters. `max_statements` 0 leaves statements out."""

    connect_timeout_seconds: float = 3.0
    statement_timeout_seconds: float = 10.0
    max_indexes: int = 1000
    max_statements: int = 100
    query_text: bool = True
    query_text_length: int = 200
    journal_schema: str = "public"


@dataclass(frozen=True, slots=True)
class _Definition:
    catalogue_version: str
    read_at: float
    text: str


def _tell_nobody() -> None:
    """For whoever waits for the whole."""


class Draft:
    """A snapshot in the making; the collecting thread fills it, any thread may freeze it at any moment.

    `tell` is called, by that thread, when counters have come that are worth to be gone on with.
    """

    def __init__(self, tell: Callable[[], None] = _tell_nobody) -> None:
        self.tell = tell
        # Of time.monotonic(); the collection's.
        self.deadline = float("inf")
        self.answered = False
        self.lost = False
        # Nobody waits for it any more: no statement is to begin.
        self.cut = False
        self.outcomes: dict[str, CollectorOutcome] = {}
        self.facts: ServerFacts | None = None
        self.walsenders: int | None = None
        self.indexes: Watched[IndexRow] | None = None
        self.indexes_cut: int | None = None
        self.tables: Watched[TableRow] | None = None
        self.builds: tuple[BuildProgress, ...] | None = None
        self.canonical: Mapping[RelationName, str] = {}
        self.journal_births: Mapping[int, float] = {}
        self.observed_since: Mapping[int, float] = {}
        self.locked: Collection[int] | None = None
        self.definition_matches: Mapping[RelationName, bool] = {}
        self.sizes: Mapping[int, int] = {}
        self.statements: tuple[StatementRow, ...] | None = None
        self.statements_cut: int | None = None
        self.statements_info: StatementsInfo | None = None
        self.query_texts: Mapping[int, str] = {}


class DatabaseCollector:
    """Collects one database over one warm connection; one thread at a time."""

    def __init__(self, database: Database, options: CollectOptions) -> None:
        self.database = database
        self._options = options
        self._warm = WarmConnection(
            database,
            SessionLimits(
                connect_timeout_seconds=options.connect_timeout_seconds,
                statement_timeout_seconds=options.statement_timeout_seconds,
                lock_timeout_seconds=LOCK_TIMEOUT_SECONDS,
            ),
        )
        self._declared = database.declared
        self._selection = StatementSelection(
            max_statements=options.max_statements, query_text_length=options.query_text_length
        )
        self._definitions: dict[int, _Definition] = {}
        self._index_rows: RowCache[IndexRow] = RowCache()
        self._table_rows: RowCache[TableRow] = RowCache()
        self._tables_of: tuple[Sequence[IndexRow], list[int]] = ((), [])
        self._births = Births()
        self._observed: tuple[Mapping[int, float], float, Mapping[int, float]] = ({}, 0.0, {})
        self._sizes = Sizes()
        self._last_success: dict[str, float] = {}
        self._collecting = threading.Lock()
        self._closed = False
        self._parts = {
            "server": self._read_server,
            "indexes": self._read_indexes,
            "tables": self._read_tables,
            "builds": self._read_builds,
            "journal": self._read_journal,
            "epoch": self._read_epoch,
            "statements": self._read_statements,
            "locks": self._read_locks,
            "sizes": self._read_sizes,
            "definitions": self._read_definitions,
        }
        if options.max_statements == 0:
            del self._parts["statements"]

    @property
    def is_connected(self) -> bool:
        """True when there is a connection that was not found dead."""
        return self._warm.is_open

    def serves(self, database: Database, options: CollectOptions) -> bool:
        """True when `rebind` suffices to collect that database within those bounds."""
        return options == self._options and is_same_session(database, self.database)

    def rebind(self, database: Database) -> None:
        """What is declared and watched, and how to connect next, from the next collection on."""
        if database is not self.database:
            self.database, self._declared = database, database.declared
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
            self._collect(draft, deadline)

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

    def _collect(self, draft: Draft, deadline: float) -> None:
        was_open = self._warm.is_open
        try:
            connection = self._warm.get()
            self._run("server", connection, draft)
            # A connection that died since the last collection says nothing about the server.
            if connection.closed and was_open and not draft.cut and time.monotonic() < deadline:
                connection = self._warm.get()
                self._run("server", connection, draft)
        except TargetError as error:
            self._fail_everything(draft, error)
            return
        for name in COLLECTORS[1:]:
            if name not in self._parts:
                continue
            if connection.closed:
                self._note(draft, name, None, "the connection was lost")
            elif draft.cut or time.monotonic() >= deadline:
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
        for name in self._parts:
            if name not in outcomes:
                outcomes[name] = CollectorOutcome(
                    name, False, None, self._last_success.get(name), "did not end before the deadline"
                )
        return DatabaseSnapshot(
            datname=self.database.datname,
            up=draft.answered and not draft.lost,
            declared=self._declared,
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
            reason = self._parts[name](connection, draft)
        except psycopg.Error as error:
            reason = str(describe_error(self.database, error).what)
            draft.answered = draft.answered or not connection.closed
        except ExporterError as error:
            reason = error.what
        else:
            draft.answered = True
        self._note(draft, name, time.monotonic() - started, reason)

    def _note(
        self, draft: Draft, name: str, seconds: float | None, reason: str | None, mend: str | None = None
    ) -> None:
        if reason is None:
            self._last_success[name] = time.time()
        draft.outcomes[name] = CollectorOutcome(
            name, reason is None, seconds, self._last_success.get(name), reason, mend
        )

    def _fail_everything(self, draft: Draft, error: TargetError) -> None:
        for name in self._parts:
            self._note(draft, name, None, error.what, error.mend)

    def _read_server(self, connection: Connection, draft: Draft) -> str | None:
        draft.facts = read_facts(connection)
        found = servers.read_walsenders(connection)
        draft.walsenders = found.walsenders
        return f"{found.hidden} WAL senders are hidden; grant pg_monitor" if found.hidden else None

    def _read_indexes(self, connection: Connection, draft: Draft) -> str | None:
        names = [index.relation for index in self._declared]
        watch, most = self.database.watch, self._options.max_indexes
        draft.indexes = self._index_rows.read(
            connection,
            lambda: reads.read_index_figures(connection, names, watch, most),
            lambda oids: reads.read_index_rows(connection, names, oids),
        )
        others = self._count_others(draft.indexes.rows) if len(draft.indexes.rows) >= most else 0
        draft.indexes_cut = (
            0 if others < most else max(0, reads.count_indexes(connection, names, watch) - others)
        )
        return None

    def _count_others(self, rows: Sequence[IndexRow]) -> int:
        """How many are neither declared nor leaves of one that is."""
        declared = {index.relation for index in self._declared}
        return sum(
            row.parents is None and RelationName(row.schemaname, row.indexname) not in declared
            for row in rows
        )

    def _read_tables(self, connection: Connection, draft: Draft) -> str | None:
        rows = draft.indexes.rows if draft.indexes is not None else ()
        if self._tables_of[0] is not rows:
            self._tables_of = (rows, sorted({row.relid for row in rows}))
        relids = self._tables_of[1]
        names = sorted({index.table for index in self._declared})
        draft.tables = self._table_rows.read(
            connection,
            lambda: reads.read_table_figures(connection, relids, names),
            lambda oids: reads.read_table_rows(connection, oids),
        )
        return None if draft.indexes is not None else UNKNOWN_INDEXES

    def _read_builds(self, connection: Connection, draft: Draft) -> str | None:
        builds = read_builds(connection)
        # Builds of other roles have neither phase nor oids without pg_read_all_stats.
        draft.builds = tuple(build for build in builds if build.phase)
        hidden = len(builds) - len(draft.builds)
        return f"{hidden} builds of other roles are hidden; grant pg_monitor" if hidden else None

    def _read_journal(self, connection: Connection, draft: Draft) -> str | None:
        schema = self._options.journal_schema
        relations = {
            relation.relname: relation for relation in reads.read_journal_relations(connection, schema)
        }
        events = relations.get("migration_events")
        if events is None or not self._declared:
            return None
        if not events.is_readable_journal:
            return f"{schema}.migration_events exists and is not this tool's"
        if not events.may_select:
            return f"no SELECT on {schema}.migration_events"
        migrations = {manifest.migration: manifest for manifest in self.database.manifests}
        canonical: dict[RelationName, str] = {}
        for row in reads.read_journal_definitions(connection, schema, migrations):
            for index in migrations[row.name].indexes:
                if index.name == row.index_name:
                    canonical[index.relation] = row.definition
        draft.canonical = canonical
        draft.journal_births = reads.read_journal_births(connection, schema, migrations)
        return None

    def _read_epoch(self, connection: Connection, draft: Draft) -> str | None:
        if draft.indexes is None:
            return UNKNOWN_INDEXES
        # After the counters: of a reset in between, the later moment is the safe one.
        epoch = servers.read_epoch(connection)
        rows, scans = draft.indexes.rows, draft.indexes.figures["idx_scan"]
        known = dict(draft.journal_births)
        unseen = [oid for oid in self._births.unseen(rows) if oid not in known]
        if unseen:
            known |= reads.read_commit_times(connection, unseen)
        births = self._births.observe(rows, scans, epoch.server_time, known)
        if epoch.counters_since is None:
            return "the server does not say since when its counters count"
        draft.observed_since = self._clamped(births, epoch.counters_since)
        return None

    def _clamped(self, births: Mapping[int, float], counters_since: float) -> Mapping[int, float]:
        """The births, none before the counters' own beginning; made anew when either changed."""
        if self._observed[0] is not births or self._observed[1] != counters_since:
            observed = {oid: max(born, counters_since) for oid, born in births.items()}
            self._observed = (births, counters_since, observed)
        return self._observed[2]

    def _read_locks(self, connection: Connection, draft: Draft) -> str | None:
        draft.locked = reads.read_locked(connection)
        return None

    def _read_statements(self, connection: Connection, draft: Draft) -> str | None:
        extension = reads.read_statements_extension(connection)
        if extension is None:
            return "the extension pg_stat_statements is not installed in this database"
        if draft.tables is None:
            return "the watched tables are not known"
        selection = self._selection
        selection.watch(row.relname for row in draft.tables.rows)
        rows = reads.read_statements(connection, extension, selection.rejected)
        reason = self._learn_texts(connection, extension, selection.unknown(rows))
        chosen, cut = selection.choose(rows)
        draft.statements, draft.statements_cut = chosen, cut
        if self._options.query_text:
            draft.query_texts = selection.texts(chosen)
        # Before 1.9 the extension does not tell: there is nothing to miss.
        with contextlib.suppress(TargetUnsupported):
            draft.statements_info = reads.read_statements_info(connection, extension)
        hidden = sum(row.queryid is None for row in rows)
        return f"{hidden} statements of other roles are hidden; grant pg_monitor" if hidden else reason

    def _learn_texts(
        self, connection: Connection, extension: reads.StatementsExtension, queryids: list[int]
    ) -> str | None:
        if not queryids:
            return None
        try:
            texts = reads.read_statement_texts(connection, extension, queryids)
        except psycopg.errors.DataError as error:
            # One text of a database in another encoding spoils them all; what is known already stays.
            return describe_error(self.database, error).what
        self._selection.learn(queryids, texts)
        return None

    def _read_sizes(self, connection: Connection, draft: Draft) -> str | None:
        indexes = draft.indexes.rows if draft.indexes is not None else ()
        facts = draft.facts

        now = time.monotonic()
        until = now + (draft.deadline - now) * SIZES_SHARE

        def read() -> SizesRead:
            return self._sizes.read(
                indexes,
                draft.tables or Watched((), dict.fromkeys(WRITES, ())),
                draft.locked or (),
                # A standby counts nothing of what its primary writes.
                shows_writes=facts is not None and not facts.in_recovery,
                until=until,
                read_sizes=lambda oids: reads.read_sizes(connection, oids),
            )

        try:
            found = read()
        except psycopg.errors.LockNotAvailable:
            # Locked after we had looked whether it was; now it is seen and skipped.
            found = read()
        draft.sizes = found.sizes
        if draft.indexes is None or draft.tables is None:
            return UNKNOWN_INDEXES
        if found.unread:
            return f"there was no time for the sizes of {found.unread} relations; they are read next"
        return f"{found.missing} relations are locked or gone" if found.missing else None

    def _read_definitions(self, connection: Connection, draft: Draft) -> str | None:
        if draft.indexes is None:
            return UNKNOWN_INDEXES
        if not draft.canonical:
            self._definitions = {}
            return None
        indexnames = {name.relname for name in draft.canonical}
        present = (row for row in draft.indexes.rows if row.indexname in indexnames)
        named = {RelationName(row.schemaname, row.indexname): row for row in present}
        wanted = {name: named[name] for name in draft.canonical if name in named}
        now = time.monotonic()
        stale = [row.indexrelid for row in wanted.values() if not self._is_fresh(row, now)]
        texts = reads.read_definitions(connection, stale) if stale else {}
        for row in wanted.values():
            if row.indexrelid in texts:
                self._definitions[row.indexrelid] = _Definition(
                    row.catalogue_version, now, texts[row.indexrelid]
                )
        matches: dict[RelationName, bool] = {}
        for name, row in wanted.items():
            known = self._definitions.get(row.indexrelid)
            if known is not None and known.catalogue_version == row.catalogue_version:
                matches[name] = known.text == draft.canonical[name]
        draft.definition_matches = matches
        kept = {row.indexrelid for row in wanted.values()}
        self._definitions = {oid: known for oid, known in self._definitions.items() if oid in kept}
        missing = len(wanted) - len(matches)
        return f"{missing} indexes are locked or gone" if missing else None

    def _is_fresh(self, row: IndexRow, now: float) -> bool:
        known = self._definitions.get(row.indexrelid)
        return (
            known is not None
            and known.catalogue_version == row.catalogue_version
            and now - known.read_at < DEFINITION_AGE_SECONDS
        )
