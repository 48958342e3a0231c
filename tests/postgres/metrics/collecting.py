"""Collecting from a database of a test, and declarations to collect for."""

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from types import SimpleNamespace
from typing import Any, LiteralString

import pytest

from exporter.metrics.collect.collectors.builds import BuildsCollector
from exporter.metrics.collect.context import Collected, CollectOptions, DatabaseContext, Limit, Steps, Turn
from exporter.metrics.collect.database import DatabaseCollector
from exporter.metrics.exposition.page import PageFormat
from exporter.metrics.exposition.render import RenderCache, render
from exporter.metrics.snapshot import DatabaseSnapshot, TargetSnapshot, Watched
from exporter.model import Database, DeclaredIndex, Manifest, RelationName, WatchAll, WatchDeclared
from exporter.postgres.builds.progress import BuildProgress, BuildRow
from exporter.postgres.counters.indexes import IndexRow
from exporter.postgres.counters.tables import TableRow
from exporter.postgres.requests import Request, Row
from exporter.postgres.server.statistics import CountersEpoch
from exporter.postgres.target import Connection
from exporter.secret import SecretStr
from tests.conftest import TestDatabase
from tests.support.snapshots import whole

SECONDS = 30.0
Watch = WatchDeclared | WatchAll | tuple[str, ...]


def declare(name: str, table: str, *columns: str, schemaname: str = "public") -> DeclaredIndex:
    return DeclaredIndex(name, RelationName(schemaname, table), columns or ("id",))


def described(
    database: TestDatabase,
    *declared: DeclaredIndex,
    watch: Watch = "declared",
    user: str | None = None,
    password: str | None = None,
) -> Database:
    """The database as settings would describe it."""
    manifests = (Manifest("m.yaml", "090_test", ("public",), (), declared),) if declared else ()
    dsn = database.server.dsn(database.name, user, password)
    return Database(database.name, SecretStr(dsn), manifests, watch)


@contextmanager
def collector_of(database: Database, options: CollectOptions | None = None) -> Iterator[DatabaseCollector]:
    collector = DatabaseCollector(database, options or CollectOptions())
    yield collector
    collector.close()


def collected(collector: DatabaseCollector) -> DatabaseSnapshot:
    return collected_within(collector, SECONDS)


def collected_within(
    collector: DatabaseCollector, seconds: float, stop: threading.Event | None = None
) -> DatabaseSnapshot:
    """What is known at the end of a collection that may take so long, or is stopped."""
    published: list[DatabaseSnapshot] = []
    collector.collect(Limit(monotonic() + seconds, stop or threading.Event()), published.append)
    return published[-1]


def replace_builds_read(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[Connection], Sequence[BuildProgress]]
) -> None:
    """Calls that function where builds are read, with the connection to itself."""

    def collect(_: BuildsCollector, context: DatabaseContext) -> Steps:
        yield Turn.ALONE
        builds = tuple(read(context.connection))
        return Collected(dataclasses.replace(context.snapshot, builds=builds))

    monkeypatch.setattr(BuildsCollector, "collect", collect)


@dataclasses.dataclass(frozen=True, eq=False)
class Statement(Request[Row]):
    """A statement that is asked in the place of a read, together with what others ask."""

    text: LiteralString = "SELECT"

    def query(self, server_version_num: int) -> LiteralString:
        return self.text


def replace_builds_statement(monkeypatch: pytest.MonkeyPatch, text: LiteralString) -> None:
    """Asks that statement where builds are read."""
    request = Statement("build_progress", BuildRow, text=text)
    monkeypatch.setattr("exporter.metrics.collect.collectors.builds.running_builds", lambda: request)


def replace_epoch_statement(monkeypatch: pytest.MonkeyPatch, text: LiteralString) -> None:
    """Asks that statement where the epoch is read."""
    request = Statement("epoch", CountersEpoch, text=text)
    monkeypatch.setattr("exporter.metrics.collect.collectors.epoch.COUNTERS_EPOCH", request)


def collect_once(database: Database, options: CollectOptions | None = None) -> DatabaseSnapshot:
    with collector_of(database, options) as collector:
        return collected(collector)


def index_rows(snapshot: DatabaseSnapshot) -> tuple[IndexRow, ...]:
    return snapshot.indexes.rows if snapshot.indexes is not None else ()


def table_rows(snapshot: DatabaseSnapshot) -> tuple[TableRow, ...]:
    return snapshot.tables.rows if snapshot.tables is not None else ()


def index_row(snapshot: DatabaseSnapshot, indexname: str) -> Any:
    """The attributes of the index's row, and its figures beside them."""
    return _merged(snapshot.indexes, "indexname", indexname)


def table_row(snapshot: DatabaseSnapshot, relname: str) -> Any:
    """The attributes of the table's row, and its figures beside them."""
    return _merged(snapshot.tables, "relname", relname)


def _merged(watched: Watched[Any] | None, attribute: str, name: str) -> SimpleNamespace:
    assert watched is not None
    (number,) = [number for number, row in enumerate(watched.rows) if getattr(row, attribute) == name]
    figures = {column: values[number] for column, values in watched.figures.items()}
    return SimpleNamespace(**dataclasses.asdict(watched.rows[number]), **figures)


def index_names(snapshot: DatabaseSnapshot) -> list[str]:
    return sorted(row.indexname for row in index_rows(snapshot))


def failures(snapshot: DatabaseSnapshot) -> dict[str, str]:
    """The reasons of the collectors that failed."""
    return {outcome.collector: outcome.reason or "" for outcome in snapshot.outcomes if not outcome.success}


def page_of(snapshots: Sequence[DatabaseSnapshot], page_format: PageFormat = PageFormat.TEXT) -> str:
    return whole(render(TargetSnapshot("test", tuple(snapshots), 0.1), page_format, RenderCache())).decode()
