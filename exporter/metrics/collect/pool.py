"""The collectors of one target, each with the threads that it works in, at most one of which collects.

A thread that waits for a server cannot be ended. So the event loop watches the deadline, has the server
cancel what still runs when it passes, and goes on without a server that does not even answer that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from exporter.metrics.collect.database import DatabaseCollector
from exporter.metrics.collect.draft import CollectOptions, Draft
from exporter.metrics.threads import in_thread
from exporter.model import Database

logger = logging.getLogger(__name__)

# How long a server may take to act on a cancel request, and a thread to notice that its socket is gone.
CANCEL_GRACE_SECONDS = 0.15
# A cancel request that comes between two statements is lost, and a client is not told.
CANCEL_AGAIN_SECONDS = 0.05
SEVER_GRACE_SECONDS = 0.05


class Crew:
    """Who collects the databases of one target. Lives in the event loop."""

    def __init__(self, target_name: str) -> None:
        self._target_name = target_name
        self._collectors: dict[str, DatabaseCollector] = {}
        self._oids: dict[str, int] = {}
        # Asks for databases while none is connected to.
        self._scout: DatabaseCollector | None = None
        self._dismissed: set[DatabaseCollector] = set()
        # The threads of each collector that were not seen to end.
        self._threads: dict[DatabaseCollector, list[asyncio.Future[None]]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        """True when no connection is left that is to be closed."""
        return not self._dismissed

    def assign(
        self,
        databases: Iterable[Database],
        oids: Mapping[str, int],
        options: CollectOptions,
        busy: Collection[asyncio.Task[None]],
    ) -> list[DatabaseCollector]:
        """One collector for each database, those of before where they serve it still.

        The others are dismissed, their connections closed as soon as the `busy` collections are over. `oids`
        are the databases' own, as far as they are known: by them one made anew under an old name is noticed.
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
        self.dismiss([collector for collector in before.values() if collector not in kept], busy)
        return list(self._collectors.values())

    def scouts(
        self, maintenance: Database, options: CollectOptions, busy: Collection[asyncio.Task[None]]
    ) -> list[DatabaseCollector]:
        """Whom to ask which databases there are, in this order: whoever is connected, then by connecting."""
        at_hand = self._collectors.get(maintenance.datname)
        connected = [
            collector
            for collector in self._collectors.values()
            if collector is not at_hand and collector.is_connected and not self._unfinished(collector)
        ]
        if at_hand is not None:
            return [at_hand, *connected[:1]] if at_hand.is_connected else [*connected[:1], at_hand]
        if self._scout is None or not self._scout.serves(maintenance, options):
            self.release_scout(busy)
            self._scout = DatabaseCollector(maintenance, options)
        self._scout.rebind(maintenance)
        return [*connected[:1], self._scout]

    def release_scout(self, busy: Collection[asyncio.Task[None]]) -> None:
        """Has the connection closed that is for asking only, as `dismiss`."""
        if self._scout is not None:
            self.dismiss([self._scout], busy)
            self._scout = None

    def dismiss(self, collectors: Iterable[DatabaseCollector], busy: Collection[asyncio.Task[None]]) -> None:
        """Has the connections closed as soon as nobody can use them any more."""
        for collector in collectors:
            self._dismissed.add(collector)
            closing = asyncio.create_task(self._close_later(collector, busy))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def dismiss_all(self, busy: Collection[asyncio.Task[None]]) -> None:
        """Has all connections closed, as `dismiss`."""
        self.release_scout(busy)
        collectors, self._collectors = list(self._collectors.values()), {}
        self.dismiss(collectors, busy)

    def close(self) -> None:
        """Ends the connections. For the end, when the event loop is gone."""
        scout = () if self._scout is None else (self._scout,)
        for collector in (*self._collectors.values(), *scout, *self._dismissed):
            collector.close()

    async def run(
        self,
        collector: DatabaseCollector,
        work: Callable[[], None],
        draft: Draft,
        cut: asyncio.Event,
        deadline: float,
    ) -> None:
        """Has the collector do that work, until the deadline (of time.monotonic()) or a cut ends it."""
        cutting = asyncio.create_task(cut.wait())
        try:
            if not await self._ended(collector, cutting, deadline):
                return
            self._begin(collector, work)
            if await self._ended(collector, cutting, deadline):
                return
            draft.cut = True
            if not await self._interrupted(collector, time.monotonic() + CANCEL_GRACE_SECONDS):
                collector.sever(draft)
                await self._ended(collector, None, time.monotonic() + SEVER_GRACE_SECONDS)
        finally:
            cutting.cancel()

    async def _interrupted(self, collector: DatabaseCollector, deadline: float) -> bool:
        """True once the server cancelled what ran and the collector's threads ended."""
        while time.monotonic() < deadline:
            self._begin(collector, collector.interrupt)
            again = min(deadline, time.monotonic() + CANCEL_AGAIN_SECONDS)
            if await self._ended(collector, None, again):
                return True
        return False

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

    async def _close_later(self, collector: DatabaseCollector, busy: Collection[asyncio.Task[None]]) -> None:
        if busy:
            await asyncio.wait(busy)
        while unfinished := self._unfinished(collector):
            await asyncio.wait(unfinished)
        collector.close()
        self._dismissed.discard(collector)
