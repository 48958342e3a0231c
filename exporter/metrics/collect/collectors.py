"""The parts of a collection: each asks one thing of the database and puts it into the draft.

A part gives the reason why it did not get all it asked for, None where it did. What it knows from the
collections before is kept here.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

import psycopg

from exporter.errors import TargetUnsupported
from exporter.metrics.collect import reads
from exporter.metrics.collect.definitions import Definitions
from exporter.metrics.collect.draft import CollectOptions, Draft
from exporter.metrics.collect.epoch import Births
from exporter.metrics.collect.row_cache import RowCache
from exporter.metrics.collect.sizes import WRITES, Sizes, SizesRead
from exporter.metrics.collect.statements import StatementSelection
from exporter.metrics.snapshot import IndexRow, TableRow, Watched
from exporter.model import Database, RelationName
from exporter.postgres.builds.progress import read_builds
from exporter.postgres.fetching import read_facts
from exporter.postgres.server import statistics as servers
from exporter.postgres.target import Connection, describe_error

# Of the time that is left when the sizes' turn comes, the part that asking for them may take.
SIZES_SHARE = 0.5
UNKNOWN_INDEXES = "the watched indexes are not known"


class Parts:
    """The parts of one database's collections."""

    def __init__(self, database: Database, options: CollectOptions) -> None:
        self.database = database
        self.declared = database.declared
        self._options = options
        self._selection = StatementSelection(
            max_statements=options.max_statements, query_text_length=options.query_text_length
        )
        self._definitions = Definitions()
        self._index_rows: RowCache[IndexRow] = RowCache()
        self._table_rows: RowCache[TableRow] = RowCache()
        self._tables_of: tuple[Sequence[IndexRow], list[int]] = ((), [])
        self._births = Births()
        self._observed: tuple[Mapping[int, float], float, Mapping[int, float]] = ({}, 0.0, {})
        self._sizes = Sizes()
        self.by_name: dict[str, Callable[[Connection, Draft], str | None]] = {
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
            del self.by_name["statements"]

    def rebind(self, database: Database) -> None:
        """What is declared and watched from the next collection on."""
        if database is not self.database:
            self.database, self.declared = database, database.declared

    def _read_server(self, connection: Connection, draft: Draft) -> str | None:
        draft.facts = read_facts(connection)
        found = servers.read_walsenders(connection)
        draft.walsenders = found.walsenders
        return f"{found.hidden} WAL senders are hidden; grant pg_monitor" if found.hidden else None

    def _read_indexes(self, connection: Connection, draft: Draft) -> str | None:
        names = [index.relation for index in self.declared]
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
        declared = {index.relation for index in self.declared}
        return sum(
            row.parents is None and RelationName(row.schemaname, row.indexname) not in declared
            for row in rows
        )

    def _read_tables(self, connection: Connection, draft: Draft) -> str | None:
        rows = draft.indexes.rows if draft.indexes is not None else ()
        if self._tables_of[0] is not rows:
            self._tables_of = (rows, sorted({row.relid for row in rows}))
        relids = self._tables_of[1]
        names = sorted({index.table for index in self.declared})
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
        if events is None or not self.declared:
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
        draft.definition_matches, missing = self._definitions.compare(
            draft.indexes.rows, draft.canonical, lambda oids: reads.read_definitions(connection, oids)
        )
        return f"{missing} indexes are locked or gone" if missing else None
