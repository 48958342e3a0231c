"""The workload of Nova's users, and the latency of each kind of statement.

Users are drawn as unevenly as in the load, from a seed: a second run has the same statements in the
same order.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import psycopg

from exporter.demo import nova
from exporter.demo.statements import statement

Kind = Literal["message_history", "user_timeline", "feed", "insert_message", "delete_message"]
# Mostly reads, as in an app of this kind.
CYCLE: tuple[Kind, ...] = (
    "message_history",
    "user_timeline",
    "message_history",
    "feed",
    "user_timeline",
    "insert_message",
    "message_history",
    "user_timeline",
    "feed",
    "delete_message",
)
KINDS = tuple(dict.fromkeys(CYCLE))
CONTENT = (
    "I am on my way, the train is on time for once. Shall I bring bread, or is there enough from "
    "yesterday? Anna said that the others come a little later, so we could cook first and eat "
    "together when they are here."
)
CONNECTIONS = 2
GENTLE_PAUSE_SECONDS = 0.2
SEED = 7


@dataclass(frozen=True, slots=True)
class Latency:
    """The latency of one kind of statement, measured by the client. Units: seconds."""

    kind: Kind
    count: int
    median_seconds: float
    p95_seconds: float


@dataclass(frozen=True, slots=True)
class WorkloadResult:
    """The result of a run of the workload. `latencies` are in the order of KINDS."""

    duration_seconds: float
    latencies: tuple[Latency, ...]

    def latency(self, kind: Kind) -> Latency | None:
        """Return the latency of one kind, None if the run was too short for it."""
        return next((latency for latency in self.latencies if latency.kind == kind), None)


def run_workload(
    dsn: str,
    *,
    users: int,
    duration_seconds: float,
    connections: int = CONNECTIONS,
    on_progress: Callable[[float], None] | None = None,
) -> WorkloadResult:
    """Run the workload for `duration_seconds`; `on_progress` gets the elapsed seconds."""
    report = on_progress or (lambda _seconds: None)
    stop = threading.Event()
    started = time.monotonic()
    with ThreadPoolExecutor(connections, thread_name_prefix="workload") as pool:
        workers = [pool.submit(_measure, dsn, users, SEED + number, stop) for number in range(connections)]
        try:
            while (passed := time.monotonic() - started) < duration_seconds:
                report(passed)
                if any(worker.done() for worker in workers):
                    break
                time.sleep(min(0.1, duration_seconds - passed))
        finally:
            # Otherwise an interrupted wait would hang in the exit of the pool.
            stop.set()
        records = [record for worker in workers for record in worker.result()]
    report(duration_seconds)
    return WorkloadResult(time.monotonic() - started, summarize(records))


def run_gently(dsn: str, *, users: int, stop: threading.Event) -> None:
    """Run the workload at a low rate until `stop`, so that there is something to watch."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        session = _Session(connection)
        for kind, parameters in operations(users, random.Random(SEED)):
            if stop.wait(GENTLE_PAUSE_SECONDS):
                return
            session.perform(kind, parameters)


def summarize(records: list[tuple[Kind, float]]) -> tuple[Latency, ...]:
    """Return count, median and 95th percentile of each kind. Units: seconds."""
    seconds: defaultdict[Kind, list[float]] = defaultdict(list)
    for kind, taken in records:
        seconds[kind].append(taken)
    return tuple(
        Latency(kind, len(seconds[kind]), statistics.median(seconds[kind]), _p95(seconds[kind]))
        for kind in KINDS
        if kind in seconds
    )


def operations(users: int, chance: random.Random) -> Iterator[tuple[Kind, dict[str, Any]]]:
    """Yield kinds and parameters without end, equal for an equal state of `chance`."""
    while True:
        for kind in CYCLE:
            yield (
                kind,
                {
                    "user_id": nova.user_id(nova.skewed_rank(users, chance.random())),
                    "recipient_id": nova.user_id(int(users * chance.random())),
                    "content": CONTENT,
                },
            )


class _Session:
    """A connection of the app; it deletes only its own messages."""

    def __init__(self, connection: nova.Connection) -> None:
        self._connection = connection
        self._message_id: UUID | None = None

    def perform(self, kind: Kind, parameters: dict[str, Any]) -> float:
        """Execute a statement and fetch its rows; return the seconds it took."""
        query = statement(kind)
        started = time.perf_counter()
        cursor = self._connection.execute(query, {**parameters, "message_id": self._message_id})
        rows = cursor.fetchall() if cursor.description else []
        taken = time.perf_counter() - started
        if kind == "insert_message":
            self._message_id = rows[0][0]
        return taken


def _measure(dsn: str, users: int, seed: int, stop: threading.Event) -> list[tuple[Kind, float]]:
    records: list[tuple[Kind, float]] = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        session = _Session(connection)
        for kind, parameters in operations(users, random.Random(seed)):
            if stop.is_set():
                break
            records.append((kind, session.perform(kind, parameters)))
    return records


def _p95(seconds: list[float]) -> float:
    if len(seconds) == 1:
        return seconds[0]
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1]
