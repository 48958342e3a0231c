"""The bundled manifest holds on the Nova schema: definition, size, probes and what they claim."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.abc import Params
from psycopg.rows import dict_row

from exporter import bundled
from exporter.manifest.loader import load_manifest
from exporter.model import DeclaredIndex
from tests.conftest import TestDatabase

MANIFEST = load_manifest(bundled.path("indexes") / "090_quick_win_4_missing_indexes.yaml")
DEFINITIONS = {
    "idx_messages_sender_created": "CREATE INDEX idx_messages_sender_created ON public.messages"
    " USING btree (sender_id, created_at DESC) WHERE (deleted_at IS NULL)",
    "idx_posts_user_created": "CREATE INDEX idx_posts_user_created ON public.posts"
    " USING btree (user_id, created_at DESC) WHERE (deleted_at IS NULL)",
}


@dataclass(frozen=True, slots=True)
class Built:
    """A declared index that exists, with a connection beside it."""

    index: DeclaredIndex
    connection: psycopg.Connection[dict[str, Any]]

    def one(self, query: str, params: Params | None = None) -> Any:
        """The single value that a query returns."""
        row = self.connection.execute(query, params).fetchone()
        assert row is not None
        (value,) = row.values()
        return value


@pytest.fixture(params=MANIFEST.indexes, ids=lambda index: index.name)
def built(request: pytest.FixtureRequest, nova_database: TestDatabase) -> Iterator[Built]:
    index: DeclaredIndex = request.param
    with psycopg.connect(nova_database.dsn, autocommit=True, row_factory=dict_row) as connection:
        connection.execute(
            f"CREATE INDEX {index.name} ON {index.table.quoted} USING {index.method} "
            f"({', '.join(index.columns)}) WHERE {index.where}"
        )
        for table in MANIFEST.analyze:
            connection.execute(f"ANALYZE {table.quoted}")
        yield Built(index, connection)


def test_the_definition_is_novas(built: Built) -> None:
    definition = built.one("SELECT pg_get_indexdef(%s::regclass)", [built.index.relation.quoted])

    assert definition == DEFINITIONS[built.index.name]


def test_the_size_is_within_the_declared_ratio(built: Built) -> None:
    ratio = built.one(
        "SELECT pg_relation_size(%s::regclass)::float8 / pg_table_size(%s::regclass)",
        [built.index.relation.quoted, built.index.table.quoted],
    )

    assert built.index.max_size_ratio is not None
    assert 0.05 < ratio < built.index.max_size_ratio


def test_the_columns_hold_no_null(built: Built) -> None:
    for column in built.index.not_null:
        assert built.one(f"SELECT count(*) FROM {built.index.table.quoted} WHERE {column} IS NULL") == 0


def test_the_probes_use_the_index(built: Built) -> None:
    for probe in built.index.probes:
        assert probe.sample is not None
        samples = built.connection.execute(probe.sample).fetchall()
        assert len(samples) == 20
        for sample in samples:
            plan = built.one(f"EXPLAIN (FORMAT JSON) {probe.sql}", sample)
            assert built.index.name in str(plan)
