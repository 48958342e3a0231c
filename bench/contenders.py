"""Who is compared: our exporter, the peer, the floor, and the views for what they cost the database."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psycopg
import yaml

from bench.database import BenchServer, Connection, Database
from bench.facts import ALL_FACTS, INDEX_FACTS
from bench.peer import Peer
from bench.processes import Program
from bench.scraper import Scrape, ScrapeFailed, scrape
from exporter.demo.processes import free_port

OUR_ROLE, PEER_ROLE, FLOOR_ROLE, VIEWS_ROLE = ROLES = (
    "bench_exporter",
    "bench_peer",
    "bench_floor",
    "bench_views",
)
# Prometheus' default; the peer gets what it needs, since its figures are wanted all the same.
SCRAPE_TIMEOUT_SECONDS = 10.0
PEER_TIMEOUT_SECONDS = 120.0
START_TIMEOUT_SECONDS = 20.0
START_POLL_SECONDS = 0.005
OUR_IDX_SCAN = "pg_stat_user_indexes_idx_scan_total"


class Contender(Protocol):
    """One way to get the facts, used over and over."""

    role: str

    def scrape(self) -> float:
        """The seconds it took."""
        ...

    def cpu_seconds(self) -> float:
        """What its own process has used so far."""
        ...


class Addresses(Protocol):
    """Where a server's databases are for one of the roles."""

    def dsn(self, role: str, dbname: str) -> str:
        """The conninfo of a database."""
        ...

    def url(self, role: str, dbname: str) -> str:
        """The same as a URL."""
        ...


class HttpContender:
    """An exporter that runs as a program of its own."""

    def __init__(
        self,
        role: str,
        program: Program,
        port: int,
        *,
        idx_scan: str = OUR_IDX_SCAN,
        indexes: int,
        timeout_seconds: float = SCRAPE_TIMEOUT_SECONDS,
    ) -> None:
        self.role = role
        self.program = program
        self.port = port
        self._sample = f"\n{idx_scan}{{".encode()
        self._indexes = indexes
        self._timeout_seconds = timeout_seconds

    def page(self) -> Scrape:
        """A page that has every index.

        Raises: ScrapeFailed.
        """
        self.program.check_running()
        page = scrape(self.port, self._timeout_seconds)
        found = page.text().count(self._sample)
        if found != self._indexes:
            raise ScrapeFailed(f"port {self.port}: {found} of {self._indexes} indexes")
        return page

    def scrape(self) -> float:
        """The seconds it took."""
        return self.page().seconds

    def cpu_seconds(self) -> float:
        """What its own process has used so far."""
        return self.program.cpu_seconds()

    def wait_until_good(self) -> float:
        """The seconds from the program's start to the end of the first page that has every index."""
        deadline = time.perf_counter() + START_TIMEOUT_SECONDS
        while True:
            try:
                self.page()
            except ScrapeFailed:
                if time.perf_counter() > deadline:
                    raise
                time.sleep(START_POLL_SECONDS)
            else:
                return time.perf_counter() - self.program.started


class QueryContender:
    """Statements over a warm connection, the answers thrown away."""

    def __init__(self, role: str, connection: Connection, queries: Sequence[str], *, copy: bool) -> None:
        self.role = role
        self._connection = connection
        self._queries = [f"COPY ({query}) TO STDOUT" if copy else query for query in queries]
        self._copy = copy

    def scrape(self) -> float:
        """The seconds it took."""
        start = time.perf_counter()
        with self._connection.cursor() as cursor:
            for query in self._queries:
                if not self._copy:
                    cursor.execute(query)
                    continue
                with cursor.copy(query) as copy:
                    while copy.read():
                        pass
        return time.perf_counter() - start

    def cpu_seconds(self) -> float:
        """Nothing: it has no process of its own."""
        return 0.0


@contextmanager
def our_exporter(
    server: Addresses,
    database: Database,
    folder: Path,
    flags: Sequence[str] = ("--watch", "all", "--max-statements", "0", "--max-indexes", "1000000"),
    indexes: int | None = None,
) -> Iterator[HttpContender]:
    """`serve` on the database, as a user starts it; by default with the facts of the comparison."""
    port = free_port()
    command = [sys.executable, "-m", "exporter", "serve", "--web.listen-address", f"127.0.0.1:{port}", *flags]
    environment = {"PG_INDEX_EXPORTER_DSN": server.dsn(OUR_ROLE, database.name)}
    with Program(command, log=folder / "exporter.log", environment=environment) as program:
        yield HttpContender(OUR_ROLE, program, port, indexes=database.indexes if indexes is None else indexes)


@contextmanager
def peer_exporter(server: Addresses, database: Database, folder: Path, peer: Peer) -> Iterator[HttpContender]:
    """The peer on the database with the same facts as custom queries and nothing else."""
    port = free_port()
    queries: dict[str, object] = {}
    for facts in ALL_FACTS:
        queries |= facts.peer_queries()
    file = folder / "queries.yaml"
    file.write_text(yaml.safe_dump(queries, sort_keys=False))
    environment = {"DATA_SOURCE_NAME": server.url(PEER_ROLE, database.name)}
    command = peer.command(file, f"127.0.0.1:{port}")
    with Program(command, log=folder / "peer.log", environment=environment) as program:
        yield HttpContender(
            PEER_ROLE,
            program,
            port,
            idx_scan=f"{INDEX_FACTS.name}_idx_scan",
            indexes=database.indexes,
            timeout_seconds=PEER_TIMEOUT_SECONDS,
        )


@contextmanager
def query_contenders(server: BenchServer, database: Database) -> Iterator[Mapping[str, QueryContender]]:
    """The floor and the views, by name."""
    with (
        _session(server.dsn(FLOOR_ROLE, database.name)) as floor,
        _session(server.dsn(VIEWS_ROLE, database.name)) as views,
    ):
        by_functions = [facts.query("functions") for facts in ALL_FACTS]
        by_views = [facts.query("views") for facts in ALL_FACTS]
        yield {
            "floor": QueryContender(FLOOR_ROLE, floor, by_functions, copy=True),
            "views": QueryContender(VIEWS_ROLE, views, by_views, copy=False),
        }


def _session(dsn: str) -> Connection:
    # Without the just-in-time compiler, which only makes these statements slower.
    return psycopg.connect(dsn, autocommit=True, options="-c jit=off -c search_path=pg_catalog")
