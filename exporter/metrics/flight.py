"""One collection at a time per target, within a deadline, shared by everybody who asks meanwhile.

Each database is collected in a thread of its own; the event loop watches the deadline, has the server cancel
what still runs when it passes, and goes on without a server that does not even answer that.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from exporter.metrics.collect import CollectOptions, DatabaseCollector, Draft
from exporter.metrics.page import PageFormat
from exporter.metrics.render import LabelBlocks, render
from exporter.metrics.snapshot import TargetSnapshot
from exporter.metrics.state_log import StateLog
from exporter.model import Target

logger = logging.getLogger(__name__)

# How long a server may take to act on a cancel request, and a thread to notice that its socket is gone.
CANCEL_GRACE_SECONDS = 0.15
SEVER_GRACE_SECONDS = 0.05


def in_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """A future of `work`, which runs in a new daemon thread: one that hangs must not hold the exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as raised:  # noqa: BLE001 - handed to whoever awaits
            error = raised
        # The loop may be gone when a hung server lets go of the thread.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, daemon=True).start()
    return future


@dataclass(eq=False)
class Flight:
    """A collection under way: what it has so far, who waits for it, and what cuts it short."""

    drafts: Sequence[Draft]
    started: float
    deadline: float
    cut: asyncio.Event
    task: asyncio.Task[None]
    waiters: int = 0
    was_cut_short: bool = False
    landed: TargetSnapshot | None = None
    bodies: dict[PageFormat, bytes] = field(default_factory=dict)

    def cut_short(self) -> None:
        """Ends the collection, as its deadline would."""
        # After it the collection is ending anyway, and shows how the databases are.
        self.was_cut_short = self.was_cut_short or time.monotonic() < self.deadline
        self.cut.set()


class TargetService:
    """Rendered snapshots of one target."""

    def __init__(self, target: Target, options: CollectOptions) -> None:
        self.name = target.name
        self._collectors = [DatabaseCollector(database, options) for database in target.databases]
        # The threads of each collector that were not seen to end: at most one collects.
        self._threads: dict[DatabaseCollector, list[asyncio.Future[None]]] = {}
        self._flight: Flight | None = None
        self._blocks = LabelBlocks()
        self._log = StateLog(target.name)
        self._rendering = asyncio.Lock()

    async def body(self, page_format: PageFormat, seconds: float) -> bytes:
        """The families of the target as known within `seconds`, without the end of a page."""
        flight = self._flight
        # One that was cut gives less than this scrape may have.
        if flight is None or flight.cut.is_set():
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
            return await self._render(self._freeze(flight), page_format)
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
        for collector in self._collectors:
            collector.close()

    def _start(self, seconds: float) -> Flight:
        drafts = [Draft() for _ in self._collectors]
        cut, started = asyncio.Event(), time.monotonic()
        deadline = started + seconds
        task = asyncio.create_task(self._collect(drafts, cut, deadline))
        self._flight = flight = Flight(drafts, started, deadline, cut, task)
        # Before those who wait for it are woken: they find it landed.
        task.add_done_callback(lambda _: self._land(flight))
        return flight

    def _land(self, flight: Flight) -> None:
        if self._flight is flight:
            self._flight = None
        flight.landed = snapshot = self._freeze(flight)
        self._log.observe(snapshot, was_cut=flight.was_cut_short)

    async def _collect(self, drafts: Sequence[Draft], cut: asyncio.Event, deadline: float) -> None:
        await asyncio.gather(
            *(
                self._collect_database(collector, draft, cut, deadline)
                for collector, draft in zip(self._collectors, drafts, strict=True)
            )
        )

    async def _collect_database(
        self, collector: DatabaseCollector, draft: Draft, cut: asyncio.Event, deadline: float
    ) -> None:
        cutting = asyncio.create_task(cut.wait())
        try:
            if not await self._ended(collector, cutting, deadline):
                return
            self._begin(collector, lambda: collector.collect(draft, deadline))
            if await self._ended(collector, cutting, deadline):
                return
            self._begin(collector, collector.interrupt)
            if not await self._ended(collector, None, time.monotonic() + CANCEL_GRACE_SECONDS):
                collector.sever(draft)
                await self._ended(collector, None, time.monotonic() + SEVER_GRACE_SECONDS)
        finally:
            cutting.cancel()

    def _begin(self, collector: DatabaseCollector, work: Callable[[], None]) -> None:
        self._threads.setdefault(collector, []).append(in_thread(work))

    async def _ended(
        self, collector: DatabaseCollector, cutting: asyncio.Task[bool] | None, deadline: float
    ) -> bool:
        """True once all threads of the collector ended, False when the deadline or a cut came first."""
        while unfinished := self._unfinished(collector):
            remaining = deadline - time.monotonic()
            if remaining <= 0 or (cutting is not None and cutting.done()):
                return False
            waiting: set[asyncio.Future[Any]] = {*unfinished, *([cutting] if cutting is not None else [])}
            await asyncio.wait(waiting, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
        return True

    def _unfinished(self, collector: DatabaseCollector) -> list[asyncio.Future[None]]:
        threads = self._threads.get(collector, [])
        for thread in threads:
            if thread.done() and thread.exception() is not None:
                logger.error(
                    "collecting failed unexpectedly",
                    extra={"target": self.name, "datname": collector.database.datname},
                    exc_info=thread.exception(),
                )
        self._threads[collector] = unfinished = [thread for thread in threads if not thread.done()]
        return unfinished

    def _freeze(self, flight: Flight) -> TargetSnapshot:
        databases = tuple(
            collector.freeze(draft) for collector, draft in zip(self._collectors, flight.drafts, strict=True)
        )
        return TargetSnapshot(self.name, databases, time.monotonic() - flight.started)

    async def _render(self, snapshot: TargetSnapshot, page_format: PageFormat) -> bytes:
        bodies: list[bytes] = []
        await in_thread(lambda: bodies.append(render(snapshot, page_format, self._blocks)))
        return bodies[0]
