"""Locks of others: the counters are on the page all the same, and sizes come back by themselves."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.conftest import TestDatabase
from tests.faults.scraping import scrape
from tests.faults.test_database_faults import DECLARED, exporter_of
from tests.postgres.metrics.collecting import described
from tests.postgres.metrics.test_collect import indexdef, write_journal
from tests.support.waiting import wait_for

NAME = DECLARED.name
Lock = Callable[[TestDatabase, str], AbstractContextManager[None]]
SIZES = ("pg_index_size_bytes", "pg_table_size_bytes")
COUNTERS = (
    "pg_stat_user_indexes_idx_scan_total",
    "pg_stat_user_indexes_idx_tup_read_total",
    "pg_statio_user_indexes_idx_blks_hit_total",
    "pg_index_valid",
    "pg_index_present",
)


@pytest.fixture
def messages(database: TestDatabase) -> TestDatabase:
    """A database with the declared index and its canonical definition."""
    database.execute("CREATE EXTENSION pg_stat_statements")
    database.execute("CREATE TABLE messages (id int)")
    database.execute(f"CREATE INDEX {NAME} ON messages (id)")
    write_journal(database, indexdef(database, NAME), NAME)
    return database


@contextmanager
def holding(database: TestDatabase, statement: str) -> Iterator[None]:
    """A transaction that ran the statement and is rolled back at the end."""
    with database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(statement)
        yield


@contextmanager
def queued(database: TestDatabase, statement: str) -> Iterator[None]:
    """The statement waiting behind a reader of messages, who leaves at the end."""

    def run() -> None:
        with database.connect() as connection, connection.transaction(force_rollback=True):
            connection.execute(statement)

    waits = (
        "SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    waiter = threading.Thread(target=run)
    with holding(database, "SELECT count(*) FROM messages"):
        waiter.start()
        wait_for("the waiter", lambda: database.execute(waits) or None)
        yield
    waiter.join()


@pytest.mark.parametrize("is_warm", [True, False])
@pytest.mark.parametrize(
    ("lock", "statement", "locked"),
    [
        (holding, "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE", "pg_table_size_bytes"),
        (holding, f"REINDEX INDEX {NAME}", "pg_index_size_bytes"),
        (queued, "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE", "pg_table_size_bytes"),
        # It locks the table first.
        (queued, f"DROP INDEX {NAME}", "pg_table_size_bytes"),
    ],
)
def test_what_is_locked_has_its_counters(
    messages: TestDatabase, lock: Lock, statement: str, locked: str, is_warm: bool
) -> None:
    with exporter_of(described(messages, DECLARED)) as url:
        if is_warm:
            assert scrape(url).failed == set()
        with lock(messages, statement):
            during = scrape(url)
        after = scrape(url)

    assert during.target_up == 1
    # A definition that is known, of an index whose catalogue rows did not change, is not asked for again.
    assert during.failed == ({"sizes"} if is_warm else {"sizes", "definitions"})
    assert [name for name in COUNTERS if during.value(name, indexname=NAME) is None] == []
    assert during.value("pg_stat_user_tables_seq_scan_total", relname="messages") is not None
    assert during.value("pg_index_locked") == 1
    assert {name for name in SIZES if during.value(name, relname="messages") is None} == {locked}
    assert during.value("pg_index_definition_matches") == (1 if is_warm else None)
    assert after.failed == set()
    assert after.value("pg_index_locked") == 0
    assert {name for name in SIZES if after.value(name, relname="messages") is None} == set()
    assert after.value("pg_index_definition_matches") == 1


def test_a_locked_catalogue_leaves_what_does_not_need_it(messages: TestDatabase) -> None:
    """As VACUUM FULL locks it: nothing waits for it, and what is not known is not zero."""
    with exporter_of(described(messages, DECLARED)) as url:
        assert scrape(url).failed == set()
        with holding(messages, "LOCK TABLE pg_catalog.pg_index IN ACCESS EXCLUSIVE MODE"):
            during = scrape(url)
        after = scrape(url)

    assert (during.status_code, during.target_up) == (200, 1)
    assert "indexes" in during.failed
    assert not during.failed & {"server", "journal", "locks"}
    assert during.value("pg_in_recovery") == 0
    assert during.value("pg_index_declared", indexname=NAME) == 1
    assert [name for name in COUNTERS if during.value(name, indexname=NAME) is not None] == []
    assert after.failed == set()
