"""Rows are kept while the catalogue stays as it is, and read anew whatever of them changes."""

import pytest

from tests.conftest import TestDatabase
from tests.postgres.metrics.collecting import (
    collected,
    collector_of,
    declare,
    described,
    failures,
    index_row,
)
from tests.support.statistics import wait_for_statistics

CREATE = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id int NOT NULL, at int);
CREATE UNIQUE INDEX idx_orders ON shop.orders (id);
"""
CHANGES = {
    "rename of the index": ("ALTER INDEX shop.idx_orders RENAME TO renamed", "indexname", "renamed"),
    "rename of the table": ("ALTER TABLE shop.orders RENAME TO renamed", "relname", "renamed"),
    "rename of the schema": ("ALTER SCHEMA shop RENAME TO renamed", "schemaname", "renamed"),
    "another schema": ("ALTER TABLE shop.orders SET SCHEMA public", "schemaname", "public"),
    "unique constraint": (
        "ALTER TABLE shop.orders ADD CONSTRAINT idx_orders UNIQUE USING INDEX idx_orders",
        *("contype", "u"),
    ),
    "primary key": (
        "ALTER TABLE shop.orders ADD CONSTRAINT idx_orders PRIMARY KEY USING INDEX idx_orders",
        *("indisprimary", True),
    ),
    "validity": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'shop.idx_orders'::regclass",
        *("indisvalid", False),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_at_the_next_collection(database: TestDatabase, change: str) -> None:
    statement, attribute, expected = CHANGES[change]
    database.execute(CREATE)
    with collector_of(described(database, watch="all")) as collector:
        first, second = collected(collector), collected(collector)
        database.execute(statement)
        third = collected(collector)

    assert failures(third) == failures(first)
    assert first.indexes is not None
    assert second.indexes is not None
    assert third.indexes is not None
    assert second.indexes.rows is first.indexes.rows
    (row,) = third.indexes.rows
    assert getattr(row, attribute) == expected
    assert third.tables is not None
    (table,) = third.tables.rows
    assert (table.schemaname, table.relname) == (row.schemaname, row.relname)


def test_a_leaf_is_seen_to_leave_one_of_its_parents(database: TestDatabase) -> None:
    database.execute(
        "CREATE TABLE top (id int) PARTITION BY RANGE (id);"
        "CREATE TABLE middle PARTITION OF top FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id);"
        "CREATE TABLE lower PARTITION OF middle FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id);"
        "CREATE TABLE leaf PARTITION OF lower FOR VALUES FROM (0) TO (9);"
        "CREATE INDEX idx_top ON top (id)"
    )
    declared = declare("idx_top", "top"), declare("lower_id_idx", "lower")
    with collector_of(described(database, *declared)) as collector:
        before = index_row(collected(collector), "leaf_id_idx")
        database.execute("ALTER TABLE top DETACH PARTITION middle")
        after = index_row(collected(collector), "leaf_id_idx")

    assert len(before.parents) == 2
    assert len(after.parents) == 1


def test_sizes_are_read_again_when_the_table_is_written_to(database: TestDatabase) -> None:
    database.execute(CREATE)
    with collector_of(described(database, watch="all")) as collector:
        before = collected(collector).sizes
        database.execute("INSERT INTO shop.orders SELECT n FROM generate_series(1, 5000) AS n")
        wait_for_statistics(database)
        after = collected(collector).sizes

    assert before.keys() == after.keys()
    assert all(after[oid] > before[oid] for oid in before)
