"""The journal: append-only, the latest event of each index, in a schema of its own, beside nobody else's."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from exporter.errors import SettingsError
from exporter.postgres.journal import EventStatus, Journal, Phase
from tests.conftest import TestDatabase
from tests.support.builds import journal_of, session

ODD_NAME = 'an "index"\nof <b>%s</b> it\'s \\ ünï'


def test_there_is_none_until_it_is_made(database: TestDatabase) -> None:
    with session(database) as connection:
        journal = Journal(connection, "public", "001_test", "run1")

        assert not journal.exists()
        journal.ensure()
        assert journal.exists()
        journal.ensure()
        assert journal.latest() == {}
        assert journal.created() == {}
        assert journal.baseline() == {}


def test_the_latest_event_of_each_index_tells_where_it_stands(database: TestDatabase) -> None:
    with journal_of(database) as journal:
        journal.append(Phase.PLANNED, EventStatus.IN_PROGRESS)
        for index_name in ("idx_a", ODD_NAME):
            journal.append(Phase.BUILDING, EventStatus.IN_PROGRESS, index_name=index_name, definition="d")
        journal.append(
            Phase.BUILDING,
            EventStatus.FAILED,
            index_name="idx_a",
            attempt=2,
            definition="d",
            detail={"message": 'it\'s %s \\ "full"', "size_bytes": 3},
        )

        latest = journal.latest()

    assert set(latest) == {None, "idx_a", ODD_NAME}
    assert latest[None].phase == "planned"
    assert (latest[ODD_NAME].phase, latest[ODD_NAME].status) == ("building", "in_progress")
    row = latest["idx_a"]
    assert (row.phase, row.status, row.attempt, row.definition) == ("building", "failed", 2, "d")
    assert row.detail == {"message": 'it\'s %s \\ "full"', "size_bytes": 3}
    assert (row.name, row.run, row.operator) == ("001_test", "0badcafe", "postgres")
    assert database.execute(
        "SELECT phase, status FROM migration_log WHERE name = '001_test' AND index_name = 'idx_a'"
    ) == [("building", "failed")]
    assert database.execute("SELECT count(*) FROM migration_events") == [(4,)]


def test_migrations_do_not_see_each_other(database: TestDatabase) -> None:
    with journal_of(database, "001_test") as one, journal_of(database, "002_test") as other:
        one.append(Phase.CATALOG_OK, EventStatus.DONE, index_name="idx_a")
        other.append(Phase.CATALOG_OK, EventStatus.DONE, index_name="idx_b")

        assert set(one.created()) == {"idx_a"}
        assert set(other.latest()) == {"idx_b"}


@pytest.mark.parametrize(
    ("events", "is_created"),
    [
        ([], False),
        ([(Phase.PREFLIGHT_OK, EventStatus.DONE)], False),
        ([(Phase.BUILDING, EventStatus.IN_PROGRESS)], True),
        ([(Phase.BUILDING, EventStatus.IN_PROGRESS), (Phase.DETACHED, EventStatus.IN_PROGRESS)], True),
        ([(Phase.BUILDING, EventStatus.IN_PROGRESS), (Phase.CLEANUP, EventStatus.LEFT_BEHIND)], True),
        ([(Phase.BUILDING, EventStatus.IN_PROGRESS), (Phase.BUILDING, EventStatus.FAILED)], False),
        ([(Phase.BUILDING, EventStatus.FAILED), (Phase.BUILDING, EventStatus.IN_PROGRESS)], True),
        ([(Phase.CATALOG_OK, EventStatus.DONE), (Phase.DONE, EventStatus.FAILED)], True),
        ([(Phase.CATALOG_OK, EventStatus.DONE), (Phase.DROPPING, EventStatus.LEFT_BEHIND)], True),
        ([(Phase.CATALOG_OK, EventStatus.DONE), (Phase.DROPPED, EventStatus.DONE)], False),
        ([(Phase.DROPPED, EventStatus.DONE), (Phase.CATALOG_OK, EventStatus.DONE)], True),
        ([(Phase.RECONCILED, EventStatus.DONE), (Phase.DONE, EventStatus.DONE)], False),
    ],
)
def test_what_the_migration_created(
    database: TestDatabase, events: list[tuple[Phase, EventStatus]], is_created: bool
) -> None:
    with journal_of(database) as journal:
        for phase, status in events:
            journal.append(phase, status, index_name="idx_a", definition="d")

        assert ("idx_a" in journal.created()) is is_created


def test_an_index_is_as_old_as_the_first_time_it_was_seen(database: TestDatabase) -> None:
    with journal_of(database, run="first") as first, journal_of(database, run="second") as second:
        for journal in (first, second):
            journal.append(
                Phase.CATALOG_OK, EventStatus.DONE, index_name="idx_a", detail={"indexrelid": 16_500}
            )
        ((first_at,), (second_at,)) = database.execute("SELECT at FROM migration_events ORDER BY id")
        seen_twice = second.created()["idx_a"]
        second.append(Phase.CATALOG_OK, EventStatus.DONE, index_name="idx_a", detail={"indexrelid": 16_501})
        built_anew = second.created()["idx_a"]

    assert first_at < second_at
    assert (seen_twice.at, seen_twice.run) == (first_at, "second")
    assert built_anew.at > second_at


def test_the_last_baseline_counts(database: TestDatabase) -> None:
    with journal_of(database) as journal:
        journal.append(Phase.BASELINE, EventStatus.DONE, detail={"probes": [1]})
        journal.append(Phase.BASELINE, EventStatus.DONE, detail={"probes": [2]})

        assert journal.baseline() == {"probes": [2]}


def test_it_lives_in_any_schema_whatever_its_name(database: TestDatabase) -> None:
    schemaname = 'odd "schema" {x} %s'
    database.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schemaname)))
    with session(database) as connection:
        journal = Journal(connection, schemaname, "001_test", "run1")
        journal.ensure()
        journal.append(Phase.CATALOG_OK, EventStatus.DONE, index_name="idx_a")

        assert set(journal.created()) == {"idx_a"}
        assert not Journal(connection, "public", "001_test", "run1").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE migration_events (id int, name text)",
        "CREATE VIEW migration_events AS SELECT 1 AS id",
        "CREATE TABLE migration_log (id int)",
        "CREATE SEQUENCE migration_log",
    ],
)
def test_other_relations_of_those_names_are_left_alone_and_said(
    database: TestDatabase, statement: str
) -> None:
    database.execute(statement)
    with session(database) as connection:
        journal = Journal(connection, "public", "001_test", "run1")
        with pytest.raises(SettingsError, match=r"is not this tool's\n  -> .*--journal-schema"):
            journal.ensure()

    assert database.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'migration_%'") == [(1,)]


def test_a_missing_schema_is_said(database: TestDatabase) -> None:
    with session(database) as connection, pytest.raises(SettingsError, match="no schema nowhere"):
        Journal(connection, "nowhere", "001_test", "run1").ensure()


@pytest.mark.parametrize("missing", ["VIEW migration_log", "TABLE migration_events CASCADE"])
def test_half_a_journal_is_said(database: TestDatabase, missing: str) -> None:
    with journal_of(database):
        pass
    database.execute(f"DROP {missing}")
    if "CASCADE" in missing:
        database.execute("CREATE VIEW migration_log AS SELECT 1 AS one")

    with session(database) as connection, pytest.raises(SettingsError, match="is missing beside"):
        Journal(connection, "public", "001_test", "run1").ensure()


def test_two_runs_may_make_it_at_once(database: TestDatabase) -> None:
    def ensure(number: int) -> bool:
        with session(database) as connection:
            journal = Journal(connection, "public", "001_test", f"run{number}")
            journal.ensure()
            return journal.exists()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ensure, range(4)))


def test_threads_may_share_one(database: TestDatabase) -> None:
    with journal_of(database) as journal, ThreadPoolExecutor(4) as pool:
        for number in range(40):
            pool.submit(
                journal.append, Phase.BUILDING, EventStatus.IN_PROGRESS, index_name=f"idx_{number % 4}"
            )

    assert database.execute("SELECT count(*) FROM migration_events") == [(40,)]


def test_the_monitor_may_read_it_and_not_write(database: TestDatabase) -> None:
    with journal_of(database) as journal:
        journal.append(Phase.CATALOG_OK, EventStatus.DONE, index_name="idx_a", definition="d")
    database.execute("CREATE ROLE watcher LOGIN PASSWORD 'throw-away' IN ROLE pg_monitor")
    try:
        with database.connect("watcher", "throw-away") as connection:
            rows = connection.execute("SELECT index_name, definition FROM migration_log").fetchall()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("DELETE FROM migration_events")
    finally:
        database.execute("DROP ROLE watcher")

    assert rows == [("idx_a", "d")]
