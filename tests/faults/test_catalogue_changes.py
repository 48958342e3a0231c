"""Indexes that change between two scrapes: the next page says what stands, and no counter lies."""

from collections.abc import Iterator

import pytest

from exporter.postgres.builds.progress import BuildProgress, read_builds
from exporter.postgres.target import Connection
from tests.conftest import TestDatabase
from tests.faults.scraping import Scrape, scrape
from tests.faults.test_database_faults import exporter_of
from tests.postgres.metrics.collecting import declare, described, replace_builds_read
from tests.support.statistics import wait_for_statistics

NAME = "idx_messages_id"
SCANS = "pg_stat_user_indexes_idx_scan_total"


@pytest.fixture
def url(database: TestDatabase) -> Iterator[str]:
    """An exporter of a declared index that was scanned three times."""
    database.execute("CREATE TABLE messages (id int) WITH (autovacuum_enabled = off)")
    database.execute("INSERT INTO messages SELECT generate_series(1, 1000)")
    database.execute(f"CREATE INDEX {NAME} ON messages (id)")
    with database.connect() as connection:
        pid = connection.info.backend_pid
        connection.execute("SET enable_seqscan = off")
        for number in range(3):
            connection.execute("SELECT id FROM messages WHERE id = %s", [number])
    wait_for_statistics(database, pid)
    with exporter_of(described(database, declare(NAME, "messages"))) as base_url:
        assert scrape(base_url).value(SCANS, indexname=NAME) == 3
        yield base_url


def of(answer: Scrape, metric: str) -> float | None:
    return answer.value(metric, indexname=NAME)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (f"DROP INDEX {NAME}", (0, None)),
        ("DROP TABLE messages", (0, None)),
        (f"ALTER INDEX {NAME} RENAME TO idx_other", (0, None)),
        (f"REINDEX INDEX CONCURRENTLY {NAME}", (1, 3)),
    ],
)
def test_a_change_in_mid_scrape_costs_what_comes_after_it(
    database: TestDatabase,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    expected: tuple[float, float | None],
) -> None:
    changes = [change]

    def change_and_read(connection: Connection) -> list[BuildProgress]:
        while changes:
            database.execute(changes.pop())
        return read_builds(connection)

    # After the counters, before the sizes.
    replace_builds_read(monkeypatch, change_and_read)
    during = scrape(url)
    wait_for_statistics(database)
    after = scrape(url)

    assert during.target_up == 1
    assert (of(during, "pg_index_present"), of(during, SCANS)) == (1, 3)
    assert during.failed <= {"statements", "sizes", "definitions"}
    assert (of(after, "pg_index_present"), of(after, SCANS)) == expected
    assert after.failed == {"statements"}


def test_what_was_dropped_or_renamed_comes_back(database: TestDatabase, url: str) -> None:
    database.execute(f"ALTER INDEX {NAME} RENAME TO idx_other")
    away = scrape(url)
    database.execute(f"ALTER INDEX idx_other RENAME TO {NAME}")
    back = scrape(url)

    assert (of(away, "pg_index_present"), of(away, SCANS)) == (0, None)
    assert (of(back, "pg_index_present"), of(back, SCANS)) == (1, 3)


def test_a_reindex_keeps_the_counters(database: TestDatabase, url: str) -> None:
    database.execute(f"REINDEX INDEX CONCURRENTLY {NAME}")
    wait_for_statistics(database)

    answer = scrape(url)

    assert (of(answer, "pg_index_present"), of(answer, "pg_index_valid"), of(answer, SCANS)) == (1, 1, 3)
    assert answer.value("pg_index_exporter_collector_success", collector="indexes") == 1


def test_a_dropped_index_is_absent_and_not_zero(database: TestDatabase, url: str) -> None:
    database.execute(f"DROP INDEX {NAME}")

    answer = scrape(url)

    assert of(answer, "pg_index_declared") == 1
    assert of(answer, "pg_index_present") == 0
    for metric in (SCANS, "pg_index_valid", "pg_index_size_bytes"):
        assert of(answer, metric) is None


def test_one_made_anew_begins_at_zero(database: TestDatabase, url: str) -> None:
    before = of(scrape(url), "pg_index_observed_since_timestamp_seconds")
    database.execute(f"DROP INDEX {NAME}")
    database.execute(f"CREATE INDEX {NAME} ON messages (id)")

    answer = scrape(url)

    assert of(answer, SCANS) == 0
    after = of(answer, "pg_index_observed_since_timestamp_seconds")
    assert before is not None
    assert after is not None
    assert after > before


def test_a_renamed_index_is_not_present_any_more(database: TestDatabase, url: str) -> None:
    database.execute(f"ALTER INDEX {NAME} RENAME TO idx_other")

    answer = scrape(url)

    assert of(answer, "pg_index_present") == 0
    assert answer.value(SCANS, indexname="idx_other") is None


def test_a_renamed_table_takes_its_index_along(database: TestDatabase, url: str) -> None:
    database.execute("ALTER TABLE messages RENAME TO letters")

    answer = scrape(url)

    assert answer.status_code == 200
    assert answer.value(SCANS, relname="messages") is None
    assert answer.value("pg_index_declared", relname="messages", indexname=NAME) == 1
    assert answer.value("pg_index_present", relname="messages", indexname=NAME) in (0, None)


def test_a_dropped_table_leaves_the_declaration(database: TestDatabase, url: str) -> None:
    database.execute("DROP TABLE messages")

    answer = scrape(url)

    assert answer.target_up == 1
    assert of(answer, "pg_index_declared") == 1
    assert of(answer, "pg_index_present") == 0
    assert answer.value("pg_stat_user_tables_seq_scan_total", relname="messages") is None
