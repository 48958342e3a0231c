"""A declared index of a partitioned table is exported by its leaves, on all levels, whenever they come."""

import pytest

from exporter.metrics.collect.context import CollectOptions
from exporter.metrics.snapshot import DatabaseSnapshot
from tests.conftest import TestDatabase
from tests.postgres.metrics.collecting import (
    collect_once,
    collected,
    collector_of,
    declare,
    described,
    failures,
    index_names,
    index_row,
    page_of,
    table_rows,
)
from tests.support.waiting import wait_for
from tests.unit.metrics.exposition.test_render import samples

DECLARED = declare("idx_events_at", "events", "at")


@pytest.fixture
def partitioned(every_database: TestDatabase) -> TestDatabase:
    """events has one leaf, and one partition in another schema that has a leaf itself."""
    for statement in (
        "CREATE SCHEMA archive",
        "CREATE TABLE events (id int, at date) PARTITION BY RANGE (at)",
        "CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        "CREATE TABLE archive.events_old PARTITION OF events FOR VALUES FROM ('2000-01-01') TO ('2026-01-01')"
        " PARTITION BY HASH (id)",
        "CREATE TABLE archive.events_old_1 PARTITION OF archive.events_old"
        " FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "CREATE INDEX idx_events_at ON events (at)",
    ):
        every_database.execute(statement)
    return every_database


def parents(snapshot: DatabaseSnapshot) -> set[tuple[str, ...]]:
    """Leaf and parent of each partition, with their schemas and tables."""
    keys = ("schemaname", "relname", "indexname", "parent_schemaname", "parent_relname", "parent_indexname")
    return {
        tuple(dict(labels)[key] for key in keys)
        for name, labels in samples(page_of([snapshot]))
        if name == "pg_index_partition_info"
    }


PARENT = ("public", "events", "idx_events_at")
NEW = ("public", "events_new", "events_new_at_idx")
OLD = ("archive", "events_old_1", "events_old_1_at_idx")


def test_the_leaves_of_all_levels_are_watched(partitioned: TestDatabase) -> None:
    snapshot = collect_once(described(partitioned, DECLARED))

    assert index_names(snapshot) == ["events_new_at_idx", "events_old_1_at_idx", "idx_events_at"]
    assert {row.relname for row in table_rows(snapshot)} == {"events", "events_new", "events_old_1"}
    assert parents(snapshot) == {(*NEW, *PARENT), (*OLD, *PARENT)}
    assert set(failures(snapshot)) == {"statements"}


def test_a_leaf_has_the_counters_and_the_parent_none(partitioned: TestDatabase) -> None:
    with partitioned.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SELECT FROM events WHERE at = '2026-05-05'")
    query = "SELECT pg_stat_get_numscans('events_new_at_idx'::regclass)"
    wait_for("the counted scan", lambda: partitioned.execute(query) == [(1,)] or None)

    page = samples(page_of([collect_once(described(partitioned, DECLARED))]))

    def by_index(family: str) -> dict[str, float]:
        return {dict(labels)["indexname"]: value for (name, labels), value in page.items() if name == family}

    leaves = {"events_new_at_idx", "events_old_1_at_idx"}
    assert by_index("pg_stat_user_indexes_idx_scan_total") == {
        "events_new_at_idx": 1,
        "events_old_1_at_idx": 0,
    }
    assert by_index("pg_index_observed_since_timestamp_seconds").keys() == leaves
    assert by_index("pg_index_size_bytes").keys() == leaves
    assert by_index("pg_index_present") == {"idx_events_at": 1}
    assert by_index("pg_index_valid") == dict.fromkeys([*leaves, "idx_events_at"], 1)


def test_partitions_come_and_go(partitioned: TestDatabase) -> None:
    with collector_of(described(partitioned, DECLARED)) as collector:
        collected(collector)
        partitioned.execute(
            "CREATE TABLE events_next PARTITION OF events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')"
        )
        with_next = collected(collector)
        partitioned.execute("ALTER TABLE events DETACH PARTITION events_new")
        without_new = collected(collector)

    following = ("public", "events_next", "events_next_at_idx")
    assert parents(with_next) == {(*NEW, *PARENT), (*OLD, *PARENT), (*following, *PARENT)}
    assert parents(without_new) == {(*OLD, *PARENT), (*following, *PARENT)}
    born = index_row(with_next, "events_next_at_idx").indexrelid
    assert with_next.observed_since[born] == max(with_next.observed_since.values())


def test_a_parent_without_all_its_leaves_is_not_valid(partitioned: TestDatabase) -> None:
    partitioned.execute("CREATE INDEX idx_events_id ON ONLY events (id)")

    snapshot = collect_once(described(partitioned, declare("idx_events_id", "events", "id")))

    assert index_names(snapshot) == ["idx_events_id"]
    assert index_row(snapshot, "idx_events_id").indisvalid is False


def test_an_index_of_a_partition_may_be_declared_as_well(partitioned: TestDatabase) -> None:
    middle = declare("events_old_at_idx", "events_old", "at", schemaname="archive")
    leaf = declare("events_new_at_idx", "events_new", "at")

    snapshot = collect_once(described(partitioned, DECLARED, middle, leaf))

    assert parents(snapshot) == {
        (*NEW, *PARENT),
        (*OLD, *PARENT),
        (*OLD, "archive", "events_old", "events_old_at_idx"),
    }
    assert len(index_names(snapshot)) == 4


def test_leaves_are_not_cut_and_take_no_place_of_others(partitioned: TestDatabase) -> None:
    for number in range(3):
        partitioned.execute(f"CREATE INDEX idx_extra_{number} ON events_new (id)")

    snapshot = collect_once(described(partitioned, DECLARED, watch="all"), CollectOptions(max_indexes=2))

    # Of the four others, the index of the middle partition and the three, two are left out.
    assert len(index_names(snapshot)) == 5
    assert {"events_new_at_idx", "events_old_1_at_idx"} <= set(index_names(snapshot))
    assert snapshot.indexes_cut == 2


def test_what_is_only_watched_is_no_parent(partitioned: TestDatabase) -> None:
    snapshot = collect_once(described(partitioned, watch="all"))

    assert parents(snapshot) == set()
    assert len(index_names(snapshot)) == 4
