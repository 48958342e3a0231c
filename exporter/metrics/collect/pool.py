"""The collectors of one target, each with the threads that it works in, at most one of which collects.

A thread that waits for a server cannot be ended. So the event loop watches the deadline, has the server
cancel what still runs when it passes, and continues without a server that does not even answer that.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

from exporter.metrics.collect.context import CollectOptions, Limit
from exporter.metrics.collect.database import DatabaseCollector
from exporter.metrics.threads import in_thread
from exporter.model import Database

logger = logging.getLogger(__name__)

# How long a server may take to act on a cancel request, and a thread to notice that its socket is gone.
CANCEL_GRACE_SECONDS = 0.15
# A cancel request that comes between two statements is lost, and the client does not learn of it.
CANCEL_AGAIN_SECONDS = 0.05
SHUT_DOWN_GRACE_SECONDS = 0.05


class CollectorPool:
    """Own the collectors of one target; runs on the event loop."""

    def __init__(self, target_name: str) -> None:
        self._target_name = target_name
        self._collectors: dict[str, DatabaseCollector] = {}
        self._oids: dict[str, int] = {}
        # Asks for databases while no collector is connected.
        self._discovery_collector: DatabaseCollector | None = None
        self._released: set[DatabaseCollector] = set()
        # The threads of each collector that were not seen to end.
        self._threads: dict[DatabaseCollector, list[asyncio.Future[None]]] = {}
        self._collections: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        """True when no collection runs and no connection is left that is to be closed."""
        return not self._collections and not self._released

    def start(self, collection: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run a collection as a task; the collectors that it uses stay connected until it ends."""
        task = asyncio.create_task(collection)
        self._collections.add(task)
        task.add_done_callback(self._collections.discard)
        return task

    def assign(
        self, databases: Iterable[Database], oids: Mapping[str, int], options: CollectOptions
    ) -> list[DatabaseCollector]:
        """One collector for each database, those of before where they serve it still.

        The others are released. `oids` are the databases' own, as far as they are known: a database created
        anew under an old name has another one.
        """
        before, self._collectors = self._collectors, {}
        for database in databases:
            name = database.datname
            collector = before.get(name)
            is_another = name in oids and self._oids.get(name, oids[name]) != oids[name]
            if collector is None or is_another or not collector.serves(database, options):
                collector = DatabaseCollector(database, options)
            self._collectors[name] = collector
        self._oids = {name: oid for name, oid in oids.items() if name in self._collectors}
        kept = set(self._collectors.values())
        self.release([collector for collector in before.values() if collector not in kept])
        return list(self._collectors.values())

    def discovery_collectors(self, maintenance: Database, options: CollectOptions) -> list[DatabaseCollector]:
        """The collectors to ask which databases there are, in this order: a connected one comes first."""
        own = self._collectors.get(maintenance.datname)
        connected = [
            collector
            for collector in self._collectors.values()
            if collector is not own and collector.is_connected and not self._unfinished(collector)
        ]
        if own is not None:
            return [own, *connected[:1]] if own.is_connected else [*connected[:1], own]
        if self._discovery_collector is None or not self._discovery_collector.serves(maintenance, options):
            self.release_discovery_collector()
            self._discovery_collector = DatabaseCollector(maintenance, options)
        self._discovery_collector.rebind(maintenance)
        return [*connected[:1], self._discovery_collector]

    def release_discovery_collector(self) -> None:
        """Release the collector that only asks for databases."""
        if self._discovery_collector is not None:
            self.release([self._discovery_collector])
            self._discovery_collector = None

    def release(self, collectors: Iterable[DatabaseCollector]) -> None:
        """Close these connections as soon as the collections that may use them have ended."""
        for collector in collectors:
            self._released.add(collector)
            closing = asyncio.create_task(self._close_later(collector))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def release_all(self) -> None:
        """Release all collectors."""
        self.release_discovery_collector()
        collectors, self._collectors = list(self._collectors.values()), {}
        self.release(collectors)

    def close(self) -> None:
        """Close all connections. For the end, when the event loop is gone."""
        discovering = () if self._discovery_collector is None else (self._discovery_collector,)
        for collector in (*self._collectors.values(), *discovering, *self._released):
            collector.close()

    async def run(
        self,
        collector: DatabaseCollector,
        work: Callable[[Limit], None],
        cancelled: asyncio.Event,
        deadline: float,
    ) -> bool:
        """Have the collector do that work until the deadline (of time.monotonic()) or `cancelled`.

        False when the server did not even answer the cancel request, so that its connection was ended.
        """
        limit = Limit(deadline, threading.Event())
        cancelling = asyncio.create_task(cancelled.wait())
        try:
            if not await self._became_idle(collector, cancelling, deadline):
                return True
            own = self._begin(collector, lambda: work(limit))
            if await _ended([own], cancelling, deadline):
                return True
            limit.stop.set()
            if await self._cancelled(collector, own, time.monotonic() + CANCEL_GRACE_SECONDS):
                return True
            collector.shut_down()
            await _ended([own], None, time.monotonic() + SHUT_DOWN_GRACE_SECONDS)
            return False
        finally:
            cancelling.cancel()
            self._unfinished(collector)

    async def _cancelled(
        self, collector: DatabaseCollector, own: asyncio.Future[None], deadline: float
    ) -> bool:
        """True once the server cancelled what ran and that thread ended.

        Only that one: as soon as it ended, the next collection may use the connection.
        """
        while not own.done():
            if time.monotonic() >= deadline:
                return False
            self._begin(collector, collector.cancel)
            await _ended([own], None, min(deadline, time.monotonic() + CANCEL_AGAIN_SECONDS))
        return True

    def _begin(self, collector: DatabaseCollector, work: Callable[[], None]) -> asyncio.Future[None]:
        thread = in_thread(work)
        self._threads.setdefault(collector, []).append(thread)
        return thread

    async def _became_idle(
        self, collector: DatabaseCollector, cancelling: asyncio.Task[bool], deadline: float
    ) -> bool:
        """True once no thread works in the collector, False when the deadline or a cancel came first."""
        while unfinished := self._unfinished(collector):
            if not await _ended(unfinished, cancelling, deadline):
                return False
        return True

    def _unfinished(self, collector: DatabaseCollector) -> list[asyncio.Future[None]]:
        threads = self._threads.pop(collector, [])
        for thread in threads:
            if thread.done() and thread.exception() is not None:
                logger.error(
                    "collecting failed unexpectedly",
                    extra={"target": self._target_name, "datname": collector.database.datname},
                    exc_info=thread.exception(),
                )
        unfinished = [thread for thread in threads if not thread.done()]
        if unfinished:
            self._threads[collector] = unfinished
        return unfinished

    async def _close_later(self, collector: DatabaseCollector) -> None:
        # Not those that begin later: they have collectors of their own.
        if collections := set(self._collections):
            await asyncio.wait(collections)
        while unfinished := self._unfinished(collector):
            await asyncio.wait(unfinished)
        collector.close()
        self._released.discard(collector)


async def _ended(
    threads: Sequence[asyncio.Future[None]], cancelling: asyncio.Task[bool] | None, deadline: float
) -> bool:
    """True once these threads ended, False when the deadline or a cancel came first."""
    while unfinished := [thread for thread in threads if not thread.done()]:
        remaining = deadline - time.monotonic()
        if remaining <= 0 or (cancelling is not None and cancelling.done()):
            return False
        waiting: set[asyncio.Future[None] | asyncio.Task[bool]] = {*unfinished}
        if cancelling is not None:
            waiting.add(cancelling)
        await asyncio.wait(waiting, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
    return True
