"""Writes beside `init`, and the same writes beside psql's own CREATE INDEX CONCURRENTLY and ANALYZE.

Only what is written while the server builds or analyzes counts. Rounds are interleaved; the time of a write
is that of all rounds together, so that what disturbs one round alone weighs little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import psycopg
from psycopg import sql
from rich.console import Console

from bench import figures
from bench.builds import TABLES, Builds, Taken, build_server
from bench.figures import Figure
from exporter.postgres.target import APPLICATION_NAME

CASE = "Writes beside a build: {rows:,} rows"
TABLE = TABLES[0]
LIMIT = 1.1
_SAMPLE_SECONDS = 0.002
_PAUSE_SECONDS = 0.001
_STATEMENTS = (
    sql.SQL("INSERT INTO {} (id, sender_id, created_at) VALUES (1000000000 + %(n)s, 3, now())"),
    sql.SQL("UPDATE {} SET sender_id = sender_id + 1 WHERE id = %(n)s::bigint * 7919 %% %(rows)s + 1"),
    sql.SQL("DELETE FROM {} WHERE id = 1000000000 + %(n)s - 100"),
)
# Whether the builder is at work, and how many writers wait for a lock that it holds or waits for.
_LOOK = """
    SELECT
        bool_or(a.state = 'active' AND a.query ~ '^(CREATE INDEX|ANALYZE)'),
        count(*) FILTER (
            WHERE a.application_name = 'writer' AND EXISTS (
                SELECT FROM unnest(pg_blocking_pids(a.pid)) AS b (pid)
                JOIN pg_stat_activity AS c ON c.pid = b.pid
                WHERE c.application_name LIKE %(builder)s || '%%'
            )
        )
    FROM pg_stat_activity AS a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
"""


@dataclass(slots=True)
class Beside:
    """What the writers of one round felt. Units: seconds since some moment, seconds."""

    writes: list[tuple[float, float]] = field(default_factory=list)
    building: list[float] = field(default_factory=list)
    waiting: int = 0

    def times(self) -> list[float]:
        """How long each write took that began while the server built or analyzed."""
        return [took for at, took in self.writes if self.building[0] <= at <= self.building[-1]]


class Writers:
    """Sessions that insert, update and delete, and one that looks at them."""

    def __init__(self, dsn: str, rows: int) -> None:
        self._dsn = dsn
        self._rows = rows
        self._written = 0

    @contextmanager
    def beside(self, builder: str) -> Iterator[Beside]:
        """What is felt until the block is left; `builder` is the begin of the builder's application_name."""
        felt, done = Beside(), threading.Event()
        broken: list[BaseException] = []

        def guarded(work: Callable[[], None]) -> Callable[[], None]:
            def run() -> None:
                try:
                    work()
                except BaseException as error:  # noqa: BLE001 - raised again in the main thread
                    broken.append(error)

            return run

        first = self._written
        works = [partial(self._write, statement, first, felt, done) for statement in _STATEMENTS]
        works.append(partial(self._look, builder, felt, done))
        threads = [threading.Thread(target=guarded(work)) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield felt
        finally:
            done.set()
            for thread in threads:
                thread.join()
        if broken:
            raise broken[0]

    def _write(self, statement: sql.SQL, first: int, felt: Beside, done: threading.Event) -> None:
        composed = statement.format(sql.Identifier(TABLE))
        number = first
        with psycopg.connect(self._dsn, autocommit=True, application_name="writer") as connection:
            while not done.is_set():
                number += 1
                parameters = {"n": number, "rows": self._rows}
                at = time.monotonic()
                connection.execute(composed, parameters, prepare=True)
                felt.writes.append((at, time.monotonic() - at))
                done.wait(_PAUSE_SECONDS)
        self._written = max(self._written, number)

    def _look(self, builder: str, felt: Beside, done: threading.Event) -> None:
        with psycopg.connect(self._dsn, autocommit=True, application_name="watch") as connection:
            while not done.wait(_SAMPLE_SECONDS):
                row = connection.execute(_LOOK, {"builder": builder}, prepare=True).fetchone()
                assert row is not None
                if row[0]:
                    felt.building.append(time.monotonic())
                felt.waiting += row[1]


def measure(builds: Builds, writers: Writers, rounds: int) -> Iterator[Figure]:
    """The figures of one index."""
    ways: dict[str, tuple[str, Callable[[Sequence[str]], Taken]]] = {
        "psql": ("psql", builds.psql),
        "init": (APPLICATION_NAME, builds.init),
    }
    felt: dict[str, list[Beside]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (application_name, build) in ways.items():
            builds.reset()
            with writers.beside(application_name) as beside:
                build([TABLE])
            felt[name].append(beside)
    times = {name: [one for beside in felt[name] for one in beside.times()] for name in ways}
    middle = {name: median(found) for name, found in times.items()}
    slow = {name: quantiles(found, n=100)[-1] for name, found in times.items()}
    # Of the rounds' longest the best: one that a busy machine held up says nothing of the builder.
    longest = {name: min(max(beside.times()) for beside in felt[name]) for name in ways}
    waits = {name: sum(beside.waiting for beside in felt[name]) for name in ways}
    yield Figure("writes beside psql", len(times["psql"]), "")
    yield Figure("writes beside init", len(times["init"]), "")
    yield figures.milliseconds("half of the writes, beside psql", middle["psql"])
    yield figures.ratio(
        "half of the writes, beside init / psql", middle["init"], middle["psql"], "at most", LIMIT
    )
    yield figures.milliseconds("99 of 100 writes, beside psql", slow["psql"])
    yield figures.ratio("99 of 100 writes, beside init / psql", slow["init"], slow["psql"], "at most", LIMIT)
    yield figures.milliseconds("longest write, beside psql", longest["psql"])
    yield Figure("longest write, beside init / psql", longest["init"] / longest["psql"], "x")
    yield Figure("looks at a writer that waits for a lock of psql's", waits["psql"], "")
    yield Figure("looks at a writer that waits for a lock of init's", waits["init"], "", "at most", 0)


def run(rows: int, rounds: int) -> list[Figure]:
    """The figures, on a server of their own."""
    with build_server() as server, tempfile.TemporaryDirectory() as folder:
        builds = Builds(server.dsn(), Path(folder))
        builds.load(rows, [TABLE])
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (id)").format(sql.Identifier(TABLE)))
        writers = Writers(server.dsn(), rows)
        return figures.under(CASE.format(rows=rows), measure(builds, writers, rounds))


def main() -> int:
    """The exit code: 0 when everything could be measured, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.writers", description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=3_000_000, metavar="N", help="rows of the table (3000000)"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="runs of each (5)")
    arguments = parser.parse_args()
    figures.print_table(run(arguments.rows, arguments.rounds), Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
