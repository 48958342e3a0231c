"""The databases that are measured: many indexes with long names, and scans that move their statistics."""

from __future__ import annotations

import random
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from exporter.demo.server import EmbeddedServer

Connection = psycopg.Connection[tuple[Any, ...]]
# A table and the number of one of its columns, which is indexed.
IndexedColumn = tuple[str, int]

INDEXES_PER_TABLE = 10
# A session keeps what it knows of every relation it touched: one that touched all would hold gigabytes.
TABLES_PER_SESSION = 1000
TABLES_PER_TRANSACTION = 50
TABLE = "customer_order_fulfilment_history_archive_{:05d}"
# 63 bytes, the longest name that PostgreSQL takes.
INDEX = "idx_customer_order_fulfilment_history_archive_{:05d}_attribute_{:d}"


class BenchServer:
    """An embedded PostgreSQL 18 with its defaults, and pg_stat_statements to ask what statements took."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._password = secrets.token_hex(12)
        self._maintenance = psycopg.connect(server.dsn(), autocommit=True)
        # Not in the measured databases: there it would be one more collector for one of the contenders.
        self._maintenance.execute("CREATE EXTENSION pg_stat_statements")

    @property
    def version(self) -> str:
        """The server's version, such as 18.1."""
        return self._maintenance.info.parameter_status("server_version") or "unknown"

    def create_database(self, name: str, indexes: int = 0) -> Database:
        """A new database with so many indexes."""
        self._maintenance.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        database = Database(name, self._server.dsn(name), indexes)
        database.create_indexes()
        return database

    def drop_database(self, database: Database) -> None:
        """Removes it; nobody may be connected."""
        statement = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name))
        self._maintenance.execute(statement)

    def create_role(self, name: str) -> None:
        """A role as an exporter should have it: pg_monitor and nothing else."""
        role = sql.Identifier(name)
        create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(self._password))
        self._maintenance.execute(create)
        self._maintenance.execute(sql.SQL("GRANT pg_monitor TO {}").format(role))

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    def dsn(self, role: str, dbname: str, port: int | None = None) -> str:
        """The conninfo of a database for a role made by `create_role`, by way of a proxy's port if given."""
        return make_conninfo(
            self._server.dsn(dbname), user=role, password=self._password, port=port or self.port
        )

    def url(self, role: str, dbname: str, port: int | None = None) -> str:
        """The same as a URL, as other programs take it."""
        address = f"{self._server.host}:{port or self.port}"
        return f"postgresql://{role}:{self._password}@{address}/{dbname}?sslmode=disable"

    def execution_seconds(self, role: str) -> float:
        """How long the role's statements have taken so far.

        Source: pg_stat_statements.total_exec_time.
        """
        row = self._maintenance.execute(
            "SELECT coalesce(sum(total_exec_time), 0)::float8 / 1000 FROM pg_stat_statements(false)"
            " WHERE userid = %s::regrole",
            [role],
        ).fetchone()
        assert row is not None
        return float(row[0])

    def close(self) -> None:
        """Ends the connection for maintenance."""
        self._maintenance.close()


class Database:
    """One database of `indexes` indexes, ten to a table."""

    def __init__(self, name: str, dsn: str, indexes: int) -> None:
        self.name = name
        self.indexes = indexes
        self._dsn = dsn
        self._tables = indexes // INDEXES_PER_TABLE
        self._random = random.Random(name)

    def connect(self) -> Connection:
        """A new session of the superuser."""
        return psycopg.connect(self._dsn, autocommit=True)

    def create_indexes(self) -> None:
        """Makes the tables, a few rows in each, and the indexes; statistics of the planner included."""
        numbers = range(self._tables)
        for start in numbers[::TABLES_PER_SESSION]:
            with self.connect() as connection:
                for first in numbers[start : start + TABLES_PER_SESSION : TABLES_PER_TRANSACTION]:
                    chosen = numbers[first : min(first + TABLES_PER_TRANSACTION, start + TABLES_PER_SESSION)]
                    connection.execute(";".join(map(_create_table, chosen)))
        with self.connect() as connection:
            connection.execute("VACUUM (ANALYZE)")

    def move(self, share: float) -> int:
        """Scans this share of the indexes once each, chosen by chance; how many that are.

        The scans are real: each fetches a row by its index. Their counts are visible on return.
        """
        everything = [
            (TABLE.format(table), column)
            for table in range(self._tables)
            for column in range(INDEXES_PER_TABLE)
        ]
        chosen = sorted(self._random.sample(everything, round(len(everything) * share)))
        by_table = [list(columns) for _, columns in groupby(chosen, key=lambda pair: pair[0])]
        for start in range(0, len(by_table), TABLES_PER_SESSION):
            self._scan(by_table[start : start + TABLES_PER_SESSION])
        return len(chosen)

    def _scan(self, by_table: Iterable[Sequence[IndexedColumn]]) -> None:
        with self.connect() as connection:
            connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off")
            for columns in by_table:
                connection.execute(" UNION ALL ".join(_scan_index(*pair) for pair in columns))
            connection.execute("SELECT pg_stat_force_next_flush()")


def _create_table(number: int) -> str:
    table = TABLE.format(number)
    columns = range(INDEXES_PER_TABLE)
    definitions = ", ".join(f"attribute_{column} int" for column in columns)
    values = ", ".join("row" for _ in columns)
    indexes = (
        f"CREATE INDEX {INDEX.format(number, column)} ON {table} (attribute_{column})" for column in columns
    )
    insert = f"INSERT INTO {table} SELECT {values} FROM generate_series(1, 3) AS row"
    return ";".join((f"CREATE TABLE {table} ({definitions})", insert, *indexes))


def _scan_index(table: str, column: int) -> str:
    # Of another column, so that the row itself is fetched.
    return f"SELECT attribute_{(column + 1) % INDEXES_PER_TABLE} FROM {table} WHERE attribute_{column} = 1"


@contextmanager
def bench_server() -> Iterator[BenchServer]:
    """A server in a directory of its own, both gone afterwards."""
    embedded = EmbeddedServer(
        Path(tempfile.mkdtemp(prefix="pg-index-exporter-bench-")),
        password=secrets.token_hex(12),
        settings={"shared_preload_libraries": "pg_stat_statements"},
        disposable=True,
    )
    with embedded:
        server = BenchServer(embedded)
        try:
            yield server
        finally:
            server.close()
