"""Collecting from a database of a test, and declarations to collect for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from pydantic import SecretStr

from exporter.metrics.collect import CollectOptions, DatabaseCollector, Draft
from exporter.metrics.page import PageFormat
from exporter.metrics.render import LabelBlocks, render
from exporter.metrics.snapshot import DatabaseSnapshot, IndexRow, TargetSnapshot
from exporter.model import Database, DeclaredIndex, Manifest, RelationName, WatchAll, WatchDeclared
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
    draft = Draft()
    collector.collect(draft, monotonic() + SECONDS)
    return collector.freeze(draft)


def collect_once(database: Database, options: CollectOptions | None = None) -> DatabaseSnapshot:
    with collector_of(database, options) as collector:
        return collected(collector)


def index_row(snapshot: DatabaseSnapshot, indexname: str) -> IndexRow:
    (row,) = [row for row in snapshot.indexes or () if row.indexname == indexname]
    return row


def index_names(snapshot: DatabaseSnapshot) -> list[str]:
    return sorted(row.indexname for row in snapshot.indexes or ())


def failures(snapshot: DatabaseSnapshot) -> dict[str, str]:
    """The reasons of the collectors that failed."""
    return {outcome.collector: outcome.reason or "" for outcome in snapshot.outcomes if not outcome.success}


def page_of(snapshots: Sequence[DatabaseSnapshot], page_format: PageFormat = PageFormat.TEXT) -> str:
    return whole(render(TargetSnapshot("test", tuple(snapshots), 0.1), page_format, LabelBlocks())).decode()
