"""Collections of one target: one at a time, within a deadline, shared by all scrapes that arrive meanwhile.

First the server is asked which databases there are, where patterns select them; then all are collected in
parallel.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from exporter.metrics.collect.connection import is_same_session
from exporter.metrics.collect.context import CollectOptions, Limit
from exporter.metrics.collect.database import DatabaseCollector
from exporter.metrics.collect.discovery import Discovery, Question
from exporter.metrics.collect.pool import CANCEL_GRACE_SECONDS, SHUT_DOWN_GRACE_SECONDS, CollectorPool
from exporter.metrics.collect.state_log import StateLog
from exporter.metrics.exposition.page import PageFormat
from exporter.metrics.exposition.render import SEGMENT_LINES, RenderCache, prepare, render
from exporter.metrics.exposition.segment import Segment
from exporter.metrics.snapshot import DatabaseSnapshot, TargetSnapshot
from exporter.metrics.threads import in_thread
from exporter.model import Database, Target
from exporter.settings.model import DEFAULTS

MAX_DATABASES = DEFAULTS.max_databases
# The share of a collection's time that asking for databases may take.
DISCOVERY_SHARE = 0.5


@dataclass(slots=True, eq=False)
class DatabaseState:
    """One database in a collection: its collector, and what is known of it so far."""

    collector: DatabaseCollector
    database: Database
    snapshot: DatabaseSnapshot


@dataclass(eq=False)
class CollectionContext:
    """What one collection works on; `states` are of the known databases until the server was asked."""

    target: Target
    started: float
    deadline: float
    states: Sequence[DatabaseState]
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    discovery: Discovery | None = None


@dataclass(eq=False)
class Collection:
    """A collection under way: how many scrapes wait for it and, once it ended, what it observed."""

    context: CollectionContext
    task: asyncio.Task[None]
    waiters: int = 0
    was_cut_short: bool = False
    snapshot: TargetSnapshot | None = None
    bodies: dict[PageFormat, tuple[Segment, ...]] = field(default_factory=dict)

    def cut_short(self) -> None:
        """End the collection as its deadline would."""
        # After the deadline it ends anyway, and shows how the databases are.
        self.was_cut_short = self.was_cut_short or time.monotonic() < self.context.deadline
        self.context.cancelled.set()


class TargetCollector:
    """Rendered snapshots of one target; runs on the event loop."""

    def __init__(self, target: Target, options: CollectOptions, max_databases: int = MAX_DATABASES) -> None:
        self.name = target.name
        self._target = target
        self._options = options
        self._max_databases = max_databases
        self._discovery = Discovery()
        self._pool = CollectorPool(target.name)
        self._collection: Collection | None = None
        self._cache = RenderCache()
        self._log = StateLog(target.name)
        self._rendering = asyncio.Lock()
        self._preparing: set[asyncio.Task[None]] = set()
        self._is_retired = False

    def apply(self, target: Target, options: CollectOptions, max_databases: int) -> None:
        """Collect this from the next collection on; one under way ends as it began."""
        before = self._target
        if (target, options, max_databases) == (before, self._options, self._max_databases):
            return
        self._target, self._options, self._max_databases = target, options, max_databases
        if not _asks_same_server(before, target):
            self._discovery = Discovery()
            self._pool.release_discovery_collector()
        self._discovery = self._discovery.matched_again(target, max_databases)
        if self._collection is None:
            # Closes connections that are no longer used; else the next collection does.
            self._states()

    def retire(self) -> None:
        """Close the connections once the collections under way have ended."""
        self._is_retired = True
        self._pool.release_all()

    @property
    def is_over(self) -> bool:
        """True of a retired one when its collections ended and its connections are closed."""
        return self._pool.is_idle

    async def body(self, page_format: PageFormat, seconds: float) -> tuple[Segment, ...]:
        """The families of the target as known within `seconds`, without the end of a page."""
        collection = self._collection
        # A cancelled one gives less than this scrape may have.
        if collection is None or collection.context.cancelled.is_set():
            collection = self._start(seconds)
        collection.waiters += 1
        try:
            patience = seconds + CANCEL_GRACE_SECONDS + SHUT_DOWN_GRACE_SECONDS
            await asyncio.wait({collection.task}, timeout=patience)
        finally:
            collection.waiters -= 1
            if not collection.waiters:
                collection.cut_short()
        if collection.snapshot is None:
            # A scrape with more time started it; this one takes what is there.
            async with self._rendering:
                return await self._render(self._snapshot(collection.context), page_format)
        async with self._rendering:
            if page_format not in collection.bodies:
                collection.bodies[page_format] = await self._render(collection.snapshot, page_format)
        return collection.bodies[page_format]

    def cut(self) -> None:
        """End the collection under way; its scrapes get what is there."""
        if self._collection is not None:
            self._collection.cut_short()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _start(self, seconds: float) -> Collection:
        started = time.monotonic()
        context = CollectionContext(self._target, started, started + seconds, self._states())
        task = self._pool.start(self._collect(context))
        self._collection = collection = Collection(context, task)
        # Before the scrapes that wait for it are woken: they read its snapshot.
        task.add_done_callback(lambda _: self._end(collection))
        return collection

    def _end(self, collection: Collection) -> None:
        if self._collection is collection:
            self._collection = None
        collection.snapshot = snapshot = self._snapshot(collection.context)
        self._log.observe(snapshot, was_cut=collection.was_cut_short)
        if self._is_retired:
            # A scrape that arrived just before began after it, with new connections.
            self._pool.release_all()

    def _states(self) -> Sequence[DatabaseState]:
        """The databases of the target as far as they are known, each with its collector."""
        databases = (*self._target.databases, *self._discovery.matched)
        collectors = self._pool.assign(databases, self._discovery.oids or {}, self._options)
        return [
            DatabaseState(collector, database, collector.unknown(database))
            for collector, database in zip(collectors, databases, strict=True)
        ]

    async def _collect(self, context: CollectionContext) -> None:
        if context.target.maintenance is not None:
            await self._discover(context, context.target.maintenance)
        await asyncio.gather(*(self._collect_database(state, context) for state in context.states))

    async def _discover(self, context: CollectionContext, maintenance: Database) -> None:
        """Ask which databases there are, and have those collected."""
        question = Question()
        deadline = context.started + (context.deadline - context.started) * DISCOVERY_SHARE

        for collector in self._pool.discovery_collectors(maintenance, self._options):

            def ask(_: Limit, collector: DatabaseCollector = collector) -> None:
                question.ask(collector)

            await self._pool.run(collector, ask, context.cancelled, deadline)
            if question.oids is not None:
                break
        context.discovery = self._discovery.after(question, context.target, self._max_databases)
        if context.cancelled.is_set() or context.target is not self._target:
            # Another collection has begun, or other settings apply: this one no longer decides.
            return
        self._discovery = context.discovery
        context.states = self._states()
        if context.states and question.oids is not None:
            self._pool.release_discovery_collector()

    async def _collect_database(self, state: DatabaseState, context: CollectionContext) -> None:
        loop = asyncio.get_running_loop()

        def publish(snapshot: DatabaseSnapshot) -> None:
            before, state.snapshot = state.snapshot, snapshot
            if _has_new_counters(before, snapshot):
                # The loop may be gone when a hung server answers.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._prepare, snapshot)

        def collect(limit: Limit) -> None:
            state.collector.rebind(state.database)
            state.collector.collect(limit, publish)

        if not await self._pool.run(state.collector, collect, context.cancelled, context.deadline):
            state.snapshot = replace(state.snapshot, up=False)

    def _prepare(self, snapshot: DatabaseSnapshot) -> None:
        """Begin to write the page while the server still works on the rest of it."""
        task = asyncio.create_task(self._write_ahead(snapshot))
        self._preparing.add(task)
        task.add_done_callback(self._preparing.discard)

    async def _write_ahead(self, snapshot: DatabaseSnapshot) -> None:
        async with self._rendering:
            await in_thread(lambda: prepare(snapshot, self._cache))

    def _snapshot(self, context: CollectionContext) -> TargetSnapshot:
        databases = tuple(state.snapshot for state in context.states)
        snapshot = TargetSnapshot(self.name, databases, time.monotonic() - context.started)
        if context.target.maintenance is None:
            return snapshot
        discovery = context.discovery or self._discovery.unanswered()
        return replace(
            snapshot,
            maintenance_datname=context.target.maintenance.datname,
            discovery=discovery.outcome,
            databases_cut=discovery.databases_cut,
        )

    async def _render(self, snapshot: TargetSnapshot, page_format: PageFormat) -> tuple[Segment, ...]:
        bodies: list[tuple[Segment, ...]] = []
        await in_thread(lambda: bodies.append(render(snapshot, page_format, self._cache)))
        return bodies[0]


def _has_new_counters(before: DatabaseSnapshot, now: DatabaseSnapshot) -> bool:
    """True when counters were read that are worth writing before the rest is known."""
    is_new = now.indexes is not before.indexes or now.tables is not before.tables
    return is_new and now.indexes is not None and len(now.indexes.rows) >= SEGMENT_LINES


def _asks_same_server(before: Target, now: Target) -> bool:
    """True when what one server reported of its databases applies to both."""
    if before.maintenance is None or now.maintenance is None:
        return before.maintenance is now.maintenance
    return is_same_session(before.maintenance, now.maintenance)
