"""A build is visible while it runs, and an index is not taken for finished before it is."""

import threading
from collections.abc import Iterator

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
    page_of,
)
from tests.support.waiting import wait_for
from tests.unit.metrics.test_render import samples

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
