"""One collection at a time per target, within a deadline, shared by everybody who asks meanwhile.

First the server is asked which databases there are, where patterns mean them, then all are collected at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from exporter.metrics.collect.connection import is_same_session
from exporter.metrics.collect.database import DatabaseCollector
from exporter.metrics.collect.discovery import Discovery, Question
from exporter.metrics.collect.draft import CollectOptions, Draft
from exporter.metrics.collect.pool import CANCEL_GRACE_SECONDS, SEVER_GRACE_SECONDS, Crew
from exporter.metrics.collect.state_log import StateLog
from exporter.metrics.exposition.page import PageFormat
from exporter.metrics.exposition.render import SEGMENT_LINES, RenderCache, prepare, render
from exporter.metrics.exposition.segment import Segment
from exporter.metrics.snapshot import TargetSnapshot
from exporter.metrics.threads import in_thread
from exporter.model import Database, Target
from exporter.settings.model import DEFAULTS

MAX_DATABASES = DEFAULTS.max_databases
# Of the time of a collection, asking which databases there are may take this part.
DISCOVERY_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One database in a collection: who collects it, as what, and what came of it so far."""

    collector: DatabaseCollector
    database: Database
    draft: Draft


@dataclass(eq=False)
class Course:
    """What one collection goes by; its parts are the databases known, until the server is asked."""

    target: Target
    started: float
    deadline: float
    parts: Sequence[Part]
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    discovery: Discovery | None = None


@dataclass(eq=False)
class Flight:
    """A collection under way: who waits for it and, once it landed, what it found."""

    course: Course
    task: asyncio.Task[None]
    waiters: int = 0
    was_cut_short: bool = False
    landed: TargetSnapshot | None = None
    bodies: dict[PageFormat, tuple[Segment, ...]] = field(default_factory=dict)

    def cut_short(self) -> None:
        """Ends the collection, as its deadline would."""
        # After it the collection is ending anyway, and shows how the databases are.
        self.was_cut_short = self.was_cut_short or time.monotonic() < self.course.deadline
        self.course.cut.set()


class TargetService:
    """Rendered snapshots of one target. Lives in the event loop."""

    def __init__(self, target: Target, options: CollectOptions, max_databases: int = MAX_DATABASES) -> None:
        self.name = target.name
        self._target = target
        self._options = options
        self._max_databases = max_databases
        self._discovery = Discovery()
        self._crew = Crew(target.name)
        self._flight: Flight | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._cache = RenderCache()
        self._log = StateLog(target.name)
        self._rendering = asyncio.Lock()
        self._preparing: set[asyncio.Task[None]] = set()
        self._is_retired = False

    def apply(self, target: Target, options: CollectOptions, max_databases: int) -> None:
        """Collects this from the next collection on; one under way ends as it began."""
        before = self._target
        if (target, options, max_databases) == (before, self._options, self._max_databases):
            return
        self._target, self._options, self._max_databases = target, options, max_databases
        if not _asks_same_server(before, target):
            self._discovery = Discovery()
            self._crew.release_scout(frozenset(self._tasks))
        self._discovery = self._discovery.matched_again(target, max_databases)
        if self._flight is None:
            # Closes what is meant no more; else the next collection does.
            self._parts()

    def retire(self) -> None:
        """Ends the connections once nobody collects over them any more."""
        self._is_retired = True
        self._crew.dismiss_all(frozenset(self._tasks))

    @property
    def is_over(self) -> bool:
        """True of a retired one when its collections are over and its connections closed."""
        return not self._tasks and self._crew.is_idle

    async def body(self, page_format: PageFormat, seconds: float) -> tuple[Segment, ...]:
        """The families of the target as known within `seconds`, without the end of a page."""
        flight = self._flight
        # One that was cut gives less than this scrape may have.
        if flight is None or flight.course.cut.is_set():
            flight = self._start(seconds)
        flight.waiters += 1
        try:
            patience = seconds + CANCEL_GRACE_SECONDS + SEVER_GRACE_SECONDS
            await asyncio.wait({flight.task}, timeout=patience)
        finally:
            flight.waiters -= 1
            if not flight.waiters:
                flight.cut_short()
        if flight.landed is None:
            # Somebody with more time started it; this scrape takes what is there.
            async with self._rendering:
                return await self._render(self._freeze(flight.course), page_format)
        async with self._rendering:
            if page_format not in flight.bodies:
                flight.bodies[page_format] = await self._render(flight.landed, page_format)
        return flight.bodies[page_format]

    def cut(self) -> None:
        """Ends the collection under way; its scrapes get what is there."""
        if self._flight is not None:
            self._flight.cut_short()

    def close(self) -> None:
        """Ends the connections."""
        self._crew.close()

    def _start(self, seconds: float) -> Flight:
        started = time.monotonic()
        course = Course(self._target, started, started + seconds, self._parts())
        task = asyncio.create_task(self._collect(course))
        self._flight = flight = Flight(course, task)
        self._tasks.add(task)
        # Before those who wait for it are woken: they find it landed.
        task.add_done_callback(lambda _: self._land(flight))
        return flight

    def _land(self, flight: Flight) -> None:
        self._tasks.discard(flight.task)
        if self._flight is flight:
            self._flight = None
        flight.landed = snapshot = self._freeze(flight.course)
        self._log.observe(snapshot, was_cut=flight.was_cut_short)
        if self._is_retired:
            # One that was asked for just before began after it, with connections of its own.
            self._crew.dismiss_all(frozenset(self._tasks))

    def _parts(self) -> Sequence[Part]:
        """The databases of the target as far as they are known, each with its collector."""
        databases = (*self._target.databases, *self._discovery.found)
        oids = self._discovery.oids or {}
        collectors = self._crew.assign(databases, oids, self._options, frozenset(self._tasks))
        return [
            Part(collector, database, Draft())
            for collector, database in zip(collectors, databases, strict=True)
        ]

    async def _collect(self, course: Course) -> None:
        if course.target.maintenance is not None:
            await self._discover(course, course.target.maintenance)
        await asyncio.gather(*(self._collect_database(part, course) for part in course.parts))

    async def _discover(self, course: Course, maintenance: Database) -> None:
        """Asks which databases there are, and sets the course for those."""
        question = Question()
        deadline = course.started + (course.deadline - course.started) * DISCOVERY_SHARE
        for scout in self._crew.scouts(maintenance, self._options, frozenset(self._tasks)):
            await self._crew.run(scout, partial(question.ask, scout), Draft(), course.cut, deadline)
            if question.oids is not None:
                break
        course.discovery = self._discovery.after(question, course.target, self._max_databases)
        if course.cut.is_set() or course.target is not self._target:
            # Another collection has begun, or other settings have come: this one does not decide any more.
            return
        self._discovery = course.discovery
        course.parts = self._parts()
        if course.parts and question.oids is not None:
            self._crew.release_scout(frozenset(self._tasks))

    async def _collect_database(self, part: Part, course: Course) -> None:
        loop = asyncio.get_running_loop()

        def tell() -> None:
            indexes = part.draft.indexes
            if indexes is not None and len(indexes.rows) >= SEGMENT_LINES:
                # The loop may be gone when a hung server answers.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._prepare, part)

        def collect() -> None:
            part.draft.tell = tell
            part.collector.rebind(part.database)
            part.collector.collect(part.draft, course.deadline)

        await self._crew.run(part.collector, collect, part.draft, course.cut, course.deadline)

    def _prepare(self, part: Part) -> None:
        """Begins to write the page while the server still works for the rest of it."""
        task = asyncio.create_task(self._write_ahead(part))
        self._preparing.add(task)
        task.add_done_callback(self._preparing.discard)

    async def _write_ahead(self, part: Part) -> None:
        async with self._rendering:
            snapshot = part.collector.freeze(part.draft)
            await in_thread(lambda: prepare(snapshot, self._cache))

    def _freeze(self, course: Course) -> TargetSnapshot:
        databases = tuple(part.collector.freeze(part.draft) for part in course.parts)
        snapshot = TargetSnapshot(self.name, databases, time.monotonic() - course.started)
        if course.target.maintenance is None:
            return snapshot
        discovery = course.discovery or self._discovery.unanswered()
        return replace(
            snapshot,
            maintenance_datname=course.target.maintenance.datname,
            discovery=discovery.outcome,
            databases_cut=discovery.databases_cut,
        )

    async def _render(self, snapshot: TargetSnapshot, page_format: PageFormat) -> tuple[Segment, ...]:
        bodies: list[tuple[Segment, ...]] = []
        await in_thread(lambda: bodies.append(render(snapshot, page_format, self._cache)))
        return bodies[0]


def _asks_same_server(one: Target, other: Target) -> bool:
    """True when what one server said of its databases holds for both."""
    if one.maintenance is None or other.maintenance is None:
        return one.maintenance is other.maintenance
    return is_same_session(one.maintenance, other.maintenance)
