"""A server at a distance: a small database behind a delaying proxy, ours beside the peer, same facts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import HttpContender, our_exporter, peer_exporter
from bench.database import BenchServer, Database
from bench.delay import DelayedServer, delaying_proxy
from bench.peer import Peer

INDEXES = 10
WARM_UP_SCRAPES = 5
SCRAPES = 40
PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Distance:
    """Medians of one contender's scrapes. Units: seconds."""

    scrape_seconds: float
    round_trips: float


def measure_distance(
    server: BenchServer, database: Database, folder: Path, peer: Peer | None, delay_seconds: float
) -> dict[str, Distance]:
    """How long a scrape takes where a round trip to the server takes so much longer, by contender."""
    with ExitStack() as stack:
        contenders: dict[str, HttpContender] = {}
        proxies = {}
        for name in ("ours", *(("peer",) if peer is not None else ())):
            proxies[name] = stack.enter_context(delaying_proxy(server.port, delay_seconds))
            delayed = DelayedServer(server, proxies[name])
            contenders[name] = stack.enter_context(
                our_exporter(delayed, database, folder)
                if peer is None or name == "ours"
                else peer_exporter(delayed, database, folder, peer)
            )
        scrapes: dict[str, list[tuple[float, int]]] = {name: [] for name in contenders}
        for contender in contenders.values():
            contender.wait_until_good()
        for number in range(-WARM_UP_SCRAPES, SCRAPES):
            for name, contender in contenders.items():
                before = proxies[name].round_trips
                seconds = contender.scrape()
                if number >= 0:
                    scrapes[name].append((seconds, proxies[name].round_trips - before))
                time.sleep(PAUSE_SECONDS)
    return {name: _medians(found) for name, found in scrapes.items()}


def _medians(scrapes: Sequence[tuple[float, int]]) -> Distance:
    return Distance(
        statistics.median(seconds for seconds, _ in scrapes),
        statistics.median(round_trips for _, round_trips in scrapes),
    )
