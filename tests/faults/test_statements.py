"""pg_stat_statements comes, goes, is old or reset: the other series stand, and it is read again by itself."""

import pytest

from tests.conftest import TestDatabase
from tests.faults.scraping import Scrape, scrape
from tests.faults.test_database_faults import DECLARED, exporter_of
from tests.postgres.metrics.collecting import described

READ = "SELECT id FROM messages"


@pytest.fixture
def messages(database: TestDatabase) -> TestDatabase:
    """A database with the declared index and without the extension."""
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_messages_id ON messages (id)")
    return database


def families(answer: Scrape) -> set[str]:
    return {name for name, _ in answer.samples if name.startswith("pg_stat_statements_")}


def calls(answer: Scrape) -> float | None:
    """How often READ was called; None without a series of it."""
    texts = {
        dict(labels)["queryid"]: dict(labels)["query"]
        for name, labels in answer.samples
        if name == "pg_stat_statements_query_info"
    }
    found = [
        value
        for (name, labels), value in answer.samples.items()
        if name == "pg_stat_statements_calls_total" and texts[dict(labels)["queryid"]] == READ
    ]
    assert len(found) < 2
    return found[0] if found else None


def assert_all_else_is_there(answer: Scrape) -> None:
    assert answer.target_up == 1
    assert answer.value("pg_stat_user_indexes_idx_scan_total", indexname=DECLARED.name) == 0
    assert answer.value("pg_index_size_bytes", indexname=DECLARED.name) is not None


def test_the_extension_comes_and_goes(messages: TestDatabase) -> None:
    with exporter_of(described(messages, DECLARED)) as url:
        before = scrape(url)
        messages.execute("CREATE EXTENSION pg_stat_statements")
        messages.execute(READ)
        during = scrape(url)
        messages.execute("DROP EXTENSION pg_stat_statements")
        after = scrape(url)

    for answer in (before, after):
        assert_all_else_is_there(answer)
        assert answer.failed == {"statements"}
        assert families(answer) == set()
    last = "pg_index_exporter_collector_last_success_timestamp_seconds"
    assert before.value(last, collector="statements") is None
    assert during.failed == set()
    assert calls(during) == 1
    assert after.value(last, collector="statements") == during.value(last, collector="statements")


@pytest.mark.parametrize("version", ["1.4", "1.7"])
def test_an_old_extension_is_a_gap_until_it_is_updated(messages: TestDatabase, version: str) -> None:
    messages.execute(f"CREATE EXTENSION pg_stat_statements VERSION '{version}'")
    messages.execute(READ)
    with exporter_of(described(messages, DECLARED)) as url:
        during = scrape(url)
        messages.execute("ALTER EXTENSION pg_stat_statements UPDATE")
        after = scrape(url)

    assert_all_else_is_there(during)
    assert (during.failed, families(during)) == ({"statements"}, set())
    assert (after.failed, calls(after)) == (set(), 1)


def test_an_update_under_a_session_that_stands_changes_what_is_read(messages: TestDatabase) -> None:
    messages.execute("CREATE EXTENSION pg_stat_statements VERSION '1.8'")
    messages.execute(READ)
    with exporter_of(described(messages, DECLARED)) as url:
        # Often enough that the statements of the old version are prepared.
        old = [scrape(url) for _ in range(5)]
        messages.execute("ALTER EXTENSION pg_stat_statements UPDATE")
        new = [scrape(url) for _ in range(5)]

    assert [answer.failed for answer in (*old, *new)] == [set()] * 10
    assert {calls(answer) for answer in (*old, *new)} == {1}
    assert {answer.value("pg_stat_statements_dealloc_total") is None for answer in old} == {True}
    assert {answer.value("pg_stat_statements_dealloc_total") is None for answer in new} == {False}


def test_after_a_reset_a_statement_is_absent_until_it_runs_again(messages: TestDatabase) -> None:
    messages.execute("CREATE EXTENSION pg_stat_statements")
    messages.execute(READ)
    messages.execute(READ)
    reset_at = "pg_stat_statements_stats_reset_timestamp_seconds"
    with exporter_of(described(messages, DECLARED)) as url:
        before = scrape(url)
        # Of this database only: the server is not this test's alone.
        messages.execute(
            "SELECT pg_stat_statements_reset(0, oid, 0) FROM pg_database WHERE datname = current_database()"
        )
        gone = scrape(url)
        messages.execute(READ)
        after = scrape(url)

    assert [calls(answer) for answer in (before, gone, after)] == [2, None, 1]
    assert [answer.failed for answer in (before, gone, after)] == [set()] * 3
    assert before.value(reset_at) is not None
    assert_all_else_is_there(gone)
