"""Locks of others: counters are there all the same, and only what would wait for the lock is left out."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

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
    index_rows,
    page_of,
    table_rows,
)
from tests.postgres.metrics.test_collect import indexdef, write_journal
from tests.support.postgres_server import Connection
from tests.support.waiting import wait_for
from tests.unit.metrics.exposition.test_render import samples

DECLARED = (declare("a_id", "a"), declare("b_id", "b"))


@pytest.fixture
def two_tables(database: TestDatabase) -> TestDatabase:
    for name in ("a", "b"):
        database.execute(f"CREATE TABLE {name} (id int, content text)")
        database.execute(f"CREATE INDEX {name}_id ON {name} (id)")
    return database


@contextmanager
def transaction(database: TestDatabase, statement: str) -> Iterator[Connection]:
    """A transaction that ran the statement and is rolled back at the end."""
    with database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(statement)
        yield connection


def locked_indexes(snapshot: DatabaseSnapshot) -> dict[str, float]:
    """pg_index_locked of each index."""
    found = samples(page_of([snapshot]))
    return {
        dict(labels)["indexname"]: value
        for (name, labels), value in found.items()
        if name == "pg_index_locked"
    }


@pytest.mark.parametrize(
    ("statement", "locked"),
    [
        ("LOCK TABLE a IN ACCESS EXCLUSIVE MODE", {"a"}),
        ("TRUNCATE a", {"a", "a_id"}),
        ("ALTER TABLE a ADD COLUMN c int", {"a"}),
        ("DROP INDEX a_id", {"a", "a_id"}),
        ("REINDEX INDEX a_id", {"a_id"}),
    ],
)
def test_a_lock_costs_the_size_of_what_is_locked_only(
    two_tables: TestDatabase, statement: str, locked: set[str]
) -> None:
    with transaction(two_tables, statement):
        snapshot = collect_once(described(two_tables, *DECLARED))

    assert snapshot.up
    assert index_names(snapshot) == ["a_id", "b_id"]
    assert [index_row(snapshot, name).idx_scan for name in ("a_id", "b_id")] == [0, 0]
    assert {row.relname for row in table_rows(snapshot)} == {"a", "b"}
    names = {row.indexrelid: row.indexname for row in index_rows(snapshot)}
    names |= {row.relid: row.relname for row in table_rows(snapshot)}
    assert {names[oid] for oid in snapshot.sizes} == {"a", "b", "a_id", "b_id"} - locked
    assert failures(snapshot)["sizes"] == f"{len(locked)} relations are locked or gone"
    assert locked_indexes(snapshot) == {"a_id": 1, "b_id": 0}


def test_a_lock_that_only_waits_counts_too(two_tables: TestDatabase) -> None:
    queued = "SELECT pid FROM pg_locks WHERE relation = 'a'::regclass AND NOT granted"
    waiter = threading.Thread(target=lock_a, args=(two_tables,))
    with transaction(two_tables, "SELECT count(*) FROM a"):
        waiter.start()
        wait_for("the waiter", lambda: two_tables.execute(queued) or None)
        snapshot = collect_once(described(two_tables, *DECLARED))
    waiter.join()

    assert failures(snapshot)["sizes"] == "1 relations are locked or gone"
    assert len(snapshot.sizes) == 3
    assert locked_indexes(snapshot) == {"a_id": 1, "b_id": 0}


def lock_a(database: TestDatabase) -> None:
    with database.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE a IN ACCESS EXCLUSIVE MODE")


def test_after_the_lock_everything_is_back(two_tables: TestDatabase) -> None:
    with collector_of(described(two_tables, *DECLARED)) as collector:
        with transaction(two_tables, "LOCK TABLE a IN ACCESS EXCLUSIVE MODE"):
            during = collected(collector)
        after = collected(collector)

    assert "sizes" in failures(during)
    assert set(failures(after)) == {"statements"}
    assert len(after.sizes) == 4
    assert locked_indexes(after) == {"a_id": 0, "b_id": 0}


def test_what_does_not_keep_readers_away_is_no_lock(two_tables: TestDatabase) -> None:
    with transaction(two_tables, "LOCK TABLE a IN EXCLUSIVE MODE"):
        snapshot = collect_once(described(two_tables, *DECLARED))

    assert locked_indexes(snapshot) == {"a_id": 0, "b_id": 0}
    assert len(snapshot.sizes) == 4


def test_a_definition_known_before_the_lock_is_still_known(two_tables: TestDatabase) -> None:
    write_journal(two_tables, indexdef(two_tables, "a_id"), "a_id")
    with collector_of(described(two_tables, *DECLARED)) as collector:
        collected(collector)
        with transaction(two_tables, "ALTER TABLE a RENAME COLUMN content TO body"):
            during = collected(collector)

    assert during.definition_matches == {DECLARED[0].relation: True}
    assert "definitions" not in failures(during)


def test_a_definition_that_is_locked_from_the_start_is_a_gap(two_tables: TestDatabase) -> None:
    write_journal(two_tables, indexdef(two_tables, "a_id"), "a_id")
    with transaction(two_tables, "LOCK TABLE a IN ACCESS EXCLUSIVE MODE"):
        snapshot = collect_once(described(two_tables, *DECLARED))

    assert snapshot.definition_matches == {}
    assert failures(snapshot)["definitions"] == "1 indexes are locked or gone"


def test_a_locked_journal_is_a_gap(two_tables: TestDatabase) -> None:
    write_journal(two_tables, indexdef(two_tables, "a_id"), "a_id")
    with transaction(two_tables, "LOCK TABLE migration_events IN ACCESS EXCLUSIVE MODE"):
        snapshot = collect_once(described(two_tables, *DECLARED))

    assert "lock timeout" in failures(snapshot)["journal"]
    assert len(snapshot.sizes) == 4


def test_a_role_with_one_millisecond_for_a_statement_is_read_all_the_same(two_tables: TestDatabase) -> None:
    two_tables.execute(f"ALTER DATABASE {two_tables.name} SET statement_timeout = 1")
    try:
        snapshot = collect_once(described(two_tables, *DECLARED))
    finally:
        two_tables.execute(f"ALTER DATABASE {two_tables.name} RESET statement_timeout")

    assert set(failures(snapshot)) <= {"statements"}
    assert index_names(snapshot) == ["a_id", "b_id"]


def test_nothing_can_be_written_over_the_connection(two_tables: TestDatabase) -> None:
    with collector_of(described(two_tables, *DECLARED)) as collector:
        connection = collector._connection.get().connection
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE public.mine (id int)")
