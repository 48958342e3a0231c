"""`init` side by side with psql running the same CREATE INDEX CONCURRENTLY and ANALYZE.

Rounds are interleaved and the best of each counts: what disturbs a build only ever makes it slower.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from rich.console import Console

from bench import figures
from bench.figures import Figure
from exporter.demo.server import EmbeddedServer

CASE = "Builds: {rows:,} rows a table"
TABLES = ("one", "two", "three", "four")
MANIFEST_INDEX = "  - {{name: idx_{table}, table: {table}, columns: [sender_id, created_at]}}\n"
# CREATE INDEX and ANALYZE are the work itself; all else is what watching it costs.
OVERHEAD = """
    SELECT coalesce(sum(total_exec_time) FILTER (WHERE query !~ '^(CREATE INDEX|ANALYZE)'), 0)::float8
        / sum(total_exec_time)::float8
    FROM pg_stat_statements(true) AS s JOIN pg_database AS d ON d.oid = s.dbid
    WHERE d.datname = current_database() AND query !~ 'generate_series'
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one run took: its statements, and the whole program with its start. Units: seconds."""

    statements_seconds: float
    program_seconds: float


class Builds:
    """Tables to build on, and the two ways of doing it."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn = dsn
        self._folder = folder

    def load(self, rows: int, tables: Sequence[str] = TABLES) -> None:
        """Makes the tables."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            for table in tables:
                connection.execute(
                    f"CREATE TABLE {table} AS SELECT g AS id, (g * 7919::bigint) % 100003 AS sender_id,"
                    f" now() - g * interval '1 second' AS created_at, md5(g::text) AS content"
                    f" FROM generate_series(1, {rows}) g"
                )
                connection.execute(f"VACUUM (FREEZE, ANALYZE) {table}")

    def reset(self) -> None:
        """Takes back what a run built and wrote."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            for table in TABLES:
                connection.execute(f"DROP INDEX IF EXISTS idx_{table}")
            connection.execute("DROP TABLE IF EXISTS migration_events CASCADE")
            connection.execute("CHECKPOINT")
            connection.execute("SELECT pg_stat_statements_reset()")

    def psql(self, tables: Sequence[str]) -> Taken:
        """One psql a table, all at once."""
        started = time.monotonic()
        running = [
            subprocess.Popen(
                [
                    "psql",
                    "-XqAt",
                    "-d",
                    self._dsn,
                    "-c",
                    f"CREATE INDEX CONCURRENTLY idx_{table} ON {table} (sender_id, created_at)",
                    "-c",
                    f"ANALYZE {table}",
                ]
            )
            for table in tables
        ]
        if any(process.wait() for process in running):
            raise RuntimeError("psql failed, see above")
        seconds = time.monotonic() - started
        return Taken(seconds, seconds)

    def init(self, tables: Sequence[str]) -> Taken:
        """One `init` for all tables; its statements are those of the longest table."""
        manifest, report = self._folder / "bench.yaml", self._folder / "report.json"
        declared = "".join(MANIFEST_INDEX.format(table=table) for table in tables)
        manifest.write_text(f"migration: bench\nindexes:\n{declared}", encoding="utf-8")
        command = [sys.executable, "-m", "exporter", "init", "--yes"]
        command += ["--manifest", str(manifest), "--report", str(report)]
        started = time.monotonic()
        ended = subprocess.run(
            command,
            env={**os.environ, "PG_INDEX_EXPORTER_DSN": self._dsn},
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - started
        if ended.returncode:
            raise RuntimeError(f"init ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
        steps = json.loads(report.read_text(encoding="utf-8"))["results"]
        by_table = dict.fromkeys(tables, 0.0)
        for step in steps:
            by_table[step["relname"]] += step["seconds"]
        return Taken(max(by_table.values()), seconds)

    def overhead(self) -> float:
        """The share of the last run's execution in the server that was not its builds and ANALYZE."""
        with psycopg.connect(self._dsn) as connection:
            row = connection.execute(OVERHEAD).fetchone()
        assert row is not None
        return float(row[0])


def measure(builds: Builds, rounds: int) -> Iterator[Figure]:
    """The figures of one table and of four at once."""
    for title, tables, limit in (("one index", TABLES[:1], 1.03), ("four tables in parallel", TABLES, 1.05)):
        best: dict[str, list[Taken]] = {"psql": [], "init": []}
        shares = []
        for _ in range(rounds):
            builds.reset()
            best["psql"].append(builds.psql(tables))
            builds.reset()
            best["init"].append(builds.init(tables))
            shares.append(builds.overhead())
        peer = min(taken.statements_seconds for taken in best["psql"])
        ours = min(taken.statements_seconds for taken in best["init"])
        whole = min(taken.program_seconds for taken in best["init"])
        yield Figure(f"{title}: psql", peer, "s")
        yield figures.ratio(f"{title}: steps of init / psql", ours, peer, "at most", limit)
        yield Figure(f"{title}: init beside its steps (start, preflight, probes, verify)", whole - ours, "s")
        yield Figure(f"{title}: own queries of the server's execution", min(shares), "share", "at most", 0.01)


@contextmanager
def build_server() -> Iterator[EmbeddedServer]:
    """A server on which nothing else runs."""
    with EmbeddedServer(
        Path(tempfile.mkdtemp(prefix="pg-index-exporter-bench-")),
        password=secrets.token_hex(12),
        settings={"shared_preload_libraries": "pg_stat_statements", "autovacuum": "off"},
        disposable=True,
    ) as server:
        yield server


def run(rows: int, rounds: int) -> list[Figure]:
    """The figures of all builds, on a server of their own."""
    with build_server() as server, tempfile.TemporaryDirectory() as folder:
        builds = Builds(server.dsn(), Path(folder))
        builds.load(rows)
        return figures.under(CASE.format(rows=rows), measure(builds, rounds))


def main() -> int:
    """The exit code: 0 when everything could be measured, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.builds", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, metavar="N", help="rows a table (3000000)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="runs of each (5)")
    arguments = parser.parse_args()
    figures.print_table(run(arguments.rows, arguments.rounds), Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
