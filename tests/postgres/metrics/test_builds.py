"""A build is visible while it runs, and an index is not taken for finished before it is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from exporter.metrics.snapshot import DatabaseSnapshot
from tests.conftest import TestDatabase
from tests.postgres.metrics.collecting import (
    collected,
    collector_of,
    declare,
    described,
    failures,
    index_row,
    index_rows,
    page_of,
)
from tests.support.waiting import wait_for
from tests.unit.metrics.exposition.test_render import samples

DECLARED = declare("idx_messages_id", "messages")
PASSWORD = "throw-away"


@pytest.fixture
def building(database: TestDatabase) -> Iterator[TestDatabase]:
    """A database in which a concurrent build waits for a transaction that wrote to its table."""
    database.execute("CREATE TABLE messages AS SELECT g AS id FROM generate_series(1, 1000) g")

    def build() -> None:
        with database.connect() as connection:
            connection.execute("CREATE INDEX CONCURRENTLY idx_messages_id ON messages (id)")

    builder = threading.Thread(target=build)
    waiting = "SELECT pid FROM pg_stat_progress_create_index WHERE phase = 'waiting for writers before build'"
    with database.connect() as writer, writer.transaction():
        writer.execute("INSERT INTO messages VALUES (1)")
        builder.start()
        wait_for("the build", lambda: database.execute(waiting) or None)
        yield database
    builder.join()


@pytest.fixture
def slow(database: TestDatabase) -> TestDatabase:
    """A database in which a build that calls hold() lasts until the advisory lock 1 is free."""
    database.execute("CREATE TABLE events (id int, at date) PARTITION BY RANGE (at)")
    database.execute("CREATE TABLE events_1 PARTITION OF events DEFAULT")
    database.execute("INSERT INTO events VALUES (1, '2026-01-01')")
    database.execute("CREATE TABLE messages AS SELECT 1 AS id")
    database.execute(
        "CREATE FUNCTION hold(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN $1; END'"
    )
    return database


@contextmanager
def held(database: TestDatabase, *statements: str) -> Iterator[None]:
    """These builds under way, each in a session of its own."""
    builders = [threading.Thread(target=database.execute, args=(statement,)) for statement in statements]
    waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = {}"
    own = "(SELECT oid FROM pg_database WHERE datname = current_database())"

    def all_wait() -> bool | None:
        return len(database.execute(waiting.format(own))) == len(builders) or None

    with database.connect() as holder:
        holder.execute("SELECT pg_advisory_lock(1)")
        for builder in builders:
            builder.start()
        wait_for("the builds", all_wait)
        yield
    for builder in builders:
        builder.join()


Built = dict[tuple[str, str], str]


def built(snapshot: DatabaseSnapshot) -> Built:
    """The phase of each build by its table and index."""
    found: Built = {}
    for name, labels in samples(page_of([snapshot])):
        if name == "pg_index_build_phase":
            given = dict(labels)
            found[given["relname"], given["indexname"]] = given["phase"]
    return found


def build_samples(snapshot: DatabaseSnapshot) -> dict[str, tuple[str | None, float]]:
    """The samples of the build families: their phase label and value."""
    return {
        name: (dict(labels).get("phase"), value)
        for (name, labels), value in samples(page_of([snapshot])).items()
        if name.startswith("pg_index_build_")
    }


def test_a_build_shows_its_phase_and_whom_it_waits_for(building: TestDatabase) -> None:
    with collector_of(described(building, DECLARED)) as collector:
        snapshot = collected(collector)

    row = index_row(snapshot, "idx_messages_id")
    assert (row.indisvalid, row.indisready) == (False, False)
    found = build_samples(snapshot)
    assert found["pg_index_build_phase"] == ("waiting for writers before build", 1)
    assert found["pg_index_build_phase_lockers"] == (None, 1)
    assert found["pg_index_build_phase_lockers_done"] == (None, 0)
    assert found["pg_index_build_progress_ratio"] == (None, 0)
    assert (found["pg_index_build_waiters"], found["pg_index_build_stops_readers"]) == ((None, 0), (None, 0))
    assert found["pg_index_build_blocker_age_seconds"][1] > 0
    assert set(failures(snapshot)) == {"statements"}


def test_a_build_of_another_role_is_a_gap_without_the_privilege(building: TestDatabase) -> None:
    role = f"{building.name}_nobody"
    building.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    try:
        with collector_of(described(building, DECLARED, user=role, password=PASSWORD)) as collector:
            snapshot = collected(collector)
    finally:
        building.execute(f"DROP ROLE {role}")

    assert build_samples(snapshot) == {}
    assert failures(snapshot)["builds"] == "1 builds of other roles are hidden; grant pg_monitor"
    assert index_row(snapshot, "idx_messages_id").indisvalid is False


def test_when_the_build_ends_its_series_end(database: TestDatabase) -> None:
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX CONCURRENTLY idx_messages_id ON messages (id)")

    with collector_of(described(database, DECLARED)) as collector:
        snapshot = collected(collector)

    assert build_samples(snapshot) == {}
    assert index_row(snapshot, "idx_messages_id").indisvalid is True


def test_a_failed_build_leaves_an_index_that_is_not_valid(database: TestDatabase) -> None:
    database.execute("CREATE TABLE messages AS SELECT 1 AS id FROM generate_series(1, 2)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute("CREATE UNIQUE INDEX CONCURRENTLY idx_messages_id ON messages (id)")

    with collector_of(described(database, DECLARED)) as collector:
        snapshot = collected(collector)

    assert build_samples(snapshot) == {}
    assert index_row(snapshot, "idx_messages_id").indisvalid is False


def test_a_build_that_locks_writers_out_is_known_by_its_table(slow: TestDatabase) -> None:
    database = described(slow, declare("idx_messages_id", "messages"))
    build = "CREATE INDEX idx_messages_id ON messages (hold(id))"
    with held(slow, build), collector_of(database) as collector:
        snapshot = collected(collector)

    # Its index is not committed, and the server names none.
    assert index_rows(snapshot) == ()
    assert built(snapshot) == {("messages", ""): "building index: scanning table"}
    assert build_samples(snapshot).keys() == {"pg_index_build_phase"}


def test_two_builds_without_a_name_are_one_series(slow: TestDatabase) -> None:
    statements = (f"CREATE INDEX idx_{number} ON messages (hold(id))" for number in range(2))
    with held(slow, *statements), collector_of(described(slow, declare("idx_0", "messages"))) as collector:
        snapshot = collected(collector)

    assert len(snapshot.builds or ()) == 2
    assert built(snapshot) == {("messages", ""): "building index: scanning table"}


def test_a_build_on_a_watched_table_shows_whichever_index_it_builds(slow: TestDatabase) -> None:
    with held(slow, "CREATE INDEX CONCURRENTLY idx_other ON messages (hold(id))"):
        with collector_of(described(slow, declare("idx_messages_id", "messages"))) as collector:
            snapshot = collected(collector)
        with collector_of(described(slow, declare("idx_events_id", "events"))) as collector:
            elsewhere = collected(collector)

    assert index_rows(snapshot) == ()
    assert built(snapshot) == {("messages", "idx_other"): "building index: scanning table"}
    assert built(elsewhere) == {}


def test_a_build_on_a_partition_is_one_on_the_tables_above_it(slow: TestDatabase) -> None:
    slow.execute("CREATE INDEX idx_events_id ON ONLY events (hold(id))")
    with held(slow, "CREATE INDEX CONCURRENTLY events_1_id ON events_1 (hold(id))"):
        with collector_of(described(slow, declare("idx_events_id", "events"))) as collector:
            snapshot = collected(collector)
        with collector_of(described(slow, declare("idx_events_id", "events"), watch="all")) as collector:
            watched = collected(collector)

    phase = "building index: scanning table"
    assert index_row(snapshot, "idx_events_id").indisvalid is False
    assert built(snapshot) == {("events", ""): phase}
    assert built(watched) == {("events", ""): phase, ("events_1", "events_1_id"): phase}
    assert "pg_index_build_phase_blocks" in build_samples(watched)
