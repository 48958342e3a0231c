"""The sidecar case: two declared indexes in a database of ordinary size, on the exporter's defaults."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.contenders import Addresses, HttpContender, our_exporter
from bench.database import BenchServer, Database
from bench.delay import DelayedServer, delaying_proxy

STARTS = 5
SCRAPES = 100
PAUSE_SECONDS = 0.05
# What a round trip takes longer where the server is at a distance.
DELAY_SECONDS = 0.005
INDEXES = ("idx_messages_sender_created", "idx_posts_author_created")
SCHEMA = """
CREATE EXTENSION pg_stat_statements;
CREATE TABLE messages (id bigint PRIMARY KEY, sender_id bigint, created_at timestamptz, content text);
CREATE TABLE posts (id bigint PRIMARY KEY, author_id bigint, created_at timestamptz, content text);
INSERT INTO messages SELECT n, n % 100, now(), 'text' FROM generate_series(1, 10000) AS n;
INSERT INTO posts SELECT n, n % 100, now(), 'text' FROM generate_series(1, 10000) AS n;
CREATE INDEX idx_messages_sender_created ON messages (sender_id, created_at DESC);
CREATE INDEX idx_posts_author_created ON posts (author_id, created_at DESC);
SELECT count(*) FROM messages WHERE sender_id = 1;
SELECT count(*) FROM posts WHERE author_id = 1;
"""
MANIFEST = {
    "migration": "bench_sidecar",
    "indexes": [
        {"name": INDEXES[0], "table": "public.messages", "columns": ["sender_id", "created_at DESC"]},
        {"name": INDEXES[1], "table": "public.posts", "columns": ["author_id", "created_at DESC"]},
    ],
}


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Medians. Units: seconds, bytes."""

    first_good_seconds: float
    scrape_seconds: float
    resident_bytes: int
    distant_scrape_seconds: float
    round_trips: float


def measure_sidecar(server: BenchServer, folder: Path) -> Sidecar:
    """How soon it gives its first page, how long a page takes then, and in how much memory."""
    database = server.create_database("sidecar")
    with database.connect() as connection:
        connection.execute(SCHEMA)
        connection.execute("VACUUM (ANALYZE)")
    starts = []
    for _ in range(STARTS):
        with _exporter(server, database, folder) as exporter:
            starts.append(exporter.wait_until_good())
    with _exporter(server, database, folder) as exporter:
        exporter.wait_until_good()
        times = []
        for _ in range(SCRAPES):
            times.append(exporter.scrape())
            time.sleep(PAUSE_SECONDS)
        resident = exporter.program.resident_bytes()
    with (
        delaying_proxy(server.port, DELAY_SECONDS) as proxy,
        _exporter(DelayedServer(server, proxy), database, folder) as exporter,
    ):
        exporter.wait_until_good()
        distant, round_trips = [], []
        for _ in range(SCRAPES):
            before = proxy.round_trips
            distant.append(exporter.scrape())
            round_trips.append(proxy.round_trips - before)
            time.sleep(PAUSE_SECONDS)
    return Sidecar(
        statistics.median(starts),
        statistics.median(times),
        resident,
        statistics.median(distant),
        statistics.median(round_trips),
    )


@contextmanager
def _exporter(server: Addresses, database: Database, folder: Path) -> Iterator[HttpContender]:
    manifest = folder / "manifest.yaml"
    manifest.write_text(yaml.safe_dump(MANIFEST, sort_keys=False))
    flags = ("--manifest", str(manifest))
    with our_exporter(server, database, folder, flags, indexes=len(INDEXES)) as exporter:
        yield exporter
