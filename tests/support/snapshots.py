"""A snapshot in which every family of the metric table has a sample; prints its page when run.

`python -m tests.support.snapshots > tests/golden/metrics.prom` accepts a change of the published contract.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from exporter.catalogue.metrics import COLLECTORS
from exporter.metrics.exposition.page import PageFormat
from exporter.metrics.exposition.render import RenderCache, render, render_exporter
from exporter.metrics.exposition.segment import Segment, text
from exporter.metrics.snapshot import (
    CollectorOutcome,
    DatabaseSnapshot,
    ExporterFacts,
    TargetSnapshot,
    Watched,
)
from exporter.model import DeclaredIndex, RelationName, ServerFacts
from exporter.postgres.builds.progress import BuildProgress
from exporter.postgres.counters.figures import Value
from exporter.postgres.counters.indexes import IndexRow
from exporter.postgres.counters.statements import StatementRow, StatementsInfo
from exporter.postgres.counters.tables import TableRow
from tests.support.watched import ALTERING, SESSION

Row = TypeVar("Row")


def watched(*pairs: tuple[Row, Mapping[str, Value]]) -> Watched[Row]:
    """Rows, each with its figures, as a snapshot has them."""
    columns = pairs[0][1] if pairs else {}
    figures = {column: [figures[column] for _, figures in pairs] for column in columns}
    return Watched(tuple(row for row, _ in pairs), figures)


MESSAGES = RelationName("public", "messages")
DECLARED = (
    DeclaredIndex("idx_messages_sender_created", MESSAGES, ("sender_id", "created_at DESC")),
    DeclaredIndex("idx_messages_absent", MESSAGES, ("content",)),
)
INDEX = IndexRow(
    indexrelid=20001,
    relid=20000,
    schemaname="public",
    relname="messages",
    indexname="idx_messages_sender_created",
    indisvalid=False,
    indisready=True,
    method="btree",
    indisunique=True,
    indisprimary=False,
    contype="u",
    is_partial=True,
    is_expression=False,
    catalogue_version="731/731",
)
INDEX_FIGURES: Mapping[str, Value] = MappingProxyType(
    {
        "idx_scan": 12,
        "idx_tup_read": 345,
        "idx_tup_fetch": 340,
        "last_idx_scan": 1732288888.25,
        "idx_blks_read": 7,
        "idx_blks_hit": 9007199254740993,
    }
)
NO_INDEX_FIGURES: Mapping[str, Value] = MappingProxyType(dict.fromkeys(INDEX_FIGURES))
PARTITIONED = dataclasses.replace(
    INDEX,
    indexrelid=20011,
    relid=20010,
    relname="events",
    indexname="idx_events_at",
    indisvalid=True,
    indisunique=False,
    contype=None,
)
LEAF = dataclasses.replace(
    PARTITIONED,
    indexrelid=20021,
    relid=20020,
    relname="events_1",
    indexname="events_1_at_idx",
    parents=[20011],
)
TABLE = TableRow(
    relid=20000,
    schemaname="public",
    relname="messages",
    catalogue_version="730",
)
TABLE_FIGURES: Mapping[str, Value] = MappingProxyType(
    {
        "seq_scan": 3,
        "seq_tup_read": 60000,
        "idx_scan": 12,
        "n_tup_ins": 20000,
        "n_tup_upd": 10,
        "n_tup_hot_upd": 4,
        "n_tup_del": 2,
        "n_live_tup": 19998,
        "n_mod_since_analyze": 12,
        "last_analyze": 1732288000.5,
        "last_autoanalyze": 1732288100.0,
    }
)
BUILD = BuildProgress(
    pid=4242,
    relid=20000,
    index_relid=20001,
    application_name="pg-index-exporter/1/idx",
    usename="builder",
    command="CREATE INDEX CONCURRENTLY",
    phase="building index: scanning table",
    lockers_total=0,
    lockers_done=0,
    blocks_total=1000,
    blocks_done=250,
    tuples_total=0,
    tuples_done=0,
    indexname="idx_messages_sender_created",
    amname="btree",
    ancestors=(),
    waiting_seconds=None,
    blockers=(SESSION,),
    waiters=(ALTERING,),
)
STATEMENT = StatementRow(
    user="app",
    queryid=-4651247091262212345,
    toplevel=True,
    calls=100,
    exec_seconds=0.125,
    plan_seconds=0.0,
    rows=5000,
    shared_blks_hit=400,
    shared_blks_read=50,
    shared_blks_dirtied=0,
    shared_blks_written=0,
    temp_blks_read=0,
    temp_blks_written=0,
)
DATABASE = DatabaseSnapshot(
    datname="nova",
    up=True,
    declared=DECLARED,
    outcomes=tuple(
        CollectorOutcome(name, name != "sizes", 0.001, 1732288889.5, None if name != "sizes" else "locked")
        for name in COLLECTORS
    ),
    facts=ServerFacts(180006, "18.6", "7311042256663658788", False, "1.12"),
    walsenders=1,
    indexes=watched((INDEX, INDEX_FIGURES), (PARTITIONED, NO_INDEX_FIGURES), (LEAF, NO_INDEX_FIGURES)),
    indexes_cut=0,
    tables=watched((TABLE, TABLE_FIGURES)),
    builds=(BUILD,),
    observed_since={20001: 1732200000.5},
    locked=frozenset({20020}),
    definition_matches={DECLARED[0].relation: True},
    sizes={20001: 1048576, 20000: 8388608},
    statements=(STATEMENT,),
    statements_cut=2,
    statements_info=StatementsInfo(5, 1732280000.0),
    query_texts={-4651247091262212345: "SELECT content FROM messages WHERE sender_id = $1"},
)
TARGET = TargetSnapshot(
    "default",
    (DATABASE,),
    0.0125,
    discovery=CollectorOutcome("databases", True, 0.0005, 1732288889.5),
    maintenance_datname="postgres",
    databases_cut=1,
)
EXPORTER = ExporterFacts("1.2.3", "3.11.9", True, 1732200000.5)


def down(database: DatabaseSnapshot) -> DatabaseSnapshot:
    """What is known of a database that does not answer."""
    outcomes = tuple(CollectorOutcome(name, False, None, None, "refused") for name in COLLECTORS)
    return DatabaseSnapshot(database.datname, False, database.declared, outcomes)


def whole(segments: Sequence[Segment]) -> bytes:
    """The text of a page or of a part of one."""
    return b"".join(text(segments, 65536))


def page(target: TargetSnapshot, page_format: PageFormat = PageFormat.TEXT) -> str:
    """The page of a target in one of the formats, complete."""
    body = render_exporter(EXPORTER, page_format) + whole(render(target, page_format, RenderCache()))
    return body.decode() + ("# EOF\n" if page_format is PageFormat.OPENMETRICS else "")


if __name__ == "__main__":
    sys.stdout.write(page(TARGET))
