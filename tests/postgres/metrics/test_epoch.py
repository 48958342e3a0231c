"""Since when counters are evidence, by really restarting, resetting, cloning and rebuilding what counts."""

import pytest

from exporter.metrics.snapshot import DatabaseSnapshot
from exporter.migrate.init import initialise
from exporter.migrate.options import RunOptions
from exporter.model import Database
from exporter.postgres.journal import EventStatus, Journal, Phase
from tests.conftest import OwnServer, TestDatabase
from tests.postgres.metrics.collecting import (
    collect_once,
    collected,
    collector_of,
    declare,
    described,
    failures,
    index_row,
)
from tests.support.postgres_server import Kind, PostgresServer, wait_for_replay
from tests.support.waiting import wait_for

IDX = "idx_messages_id"
DECLARED = declare(IDX, "messages")
CREATE = f"CREATE INDEX {IDX} ON messages (id)"


def with_table(database: TestDatabase) -> TestDatabase:
    database.execute("CREATE TABLE messages AS SELECT g AS id FROM generate_series(1, 1000) AS g")
    return database


def with_index(database: TestDatabase) -> TestDatabase:
    with_table(database).execute(CREATE)
    return database


@pytest.fixture
def indexed(every_database: TestDatabase) -> TestDatabase:
    """A database of each version with the declared index, made by hand."""
    return with_index(every_database)


def own_database(server: PostgresServer) -> TestDatabase:
    return TestDatabase(server, server.create_database())


def now(database: TestDatabase) -> float:
    """The server's clock, which the epoch is told by."""
    ((seconds,),) = database.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
    return float(seconds)


def use_index(database: TestDatabase) -> None:
    with database.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SELECT FROM messages WHERE id = 7")
    # The session's end flushes its counters; before PostgreSQL 15 they reach the next reader a moment later.
    wait_for("the counted scan", lambda: scans(database) or None)


def scans(database: TestDatabase) -> int:
    ((count,),) = database.execute("SELECT pg_stat_get_numscans(%s::regclass)", [IDX])
    return int(count)


def observed_since(snapshot: DatabaseSnapshot) -> float:
    """The epoch of the declared index."""
    assert "epoch" not in failures(snapshot)
    return snapshot.observed_since[index_row(snapshot, IDX).indexrelid]


def write_journal(database: TestDatabase) -> None:
    """Records what `init` would have recorded of the index."""
    with database.connect() as connection:
        journal = Journal(connection, "public", "090_test", "run")
        journal.ensure()
        ((oid,),) = database.execute("SELECT %s::regclass::oid::int8", [IDX])
        journal.append(Phase.CATALOG_OK, EventStatus.DONE, index_name=IDX, detail={"indexrelid": oid})


# ------------------------------------------------------------------ the counters


def test_a_clean_restart_keeps_counters_and_epoch_and_a_crash_neither(
    every_version: Kind, own_server: OwnServer
) -> None:
    server = own_server(kind=every_version)
    database = with_index(own_database(server))
    write_journal(database)
    with collector_of(described(database, DECLARED)) as collector:
        collected(collector)
        use_index(database)
        first = collected(collector)
        server.stop()
        server.start()
        restarted = collected(collector)
        before_crash = now(database)
        server.kill()
        server.start()
        crashed = collected(collector)
        latecomer = collect_once(described(database, DECLARED))
        before_stop = now(database)
        server.stop("immediate")
        server.start()
        stopped = collected(collector)

    assert index_row(restarted, IDX).idx_scan == index_row(first, IDX).idx_scan == 1
    assert observed_since(restarted) == observed_since(first)
    assert index_row(crashed, IDX).idx_scan == index_row(stopped, IDX).idx_scan == 0
    assert observed_since(first) < before_crash < observed_since(crashed) < before_stop
    # The journal's word, older than the crash, is not enough.
    assert observed_since(latecomer) > before_crash
    assert before_stop < observed_since(stopped)


def test_resetting_the_database_begins_anew(indexed: TestDatabase) -> None:
    with collector_of(described(indexed, DECLARED)) as collector:
        first = observed_since(collected(collector))
        before = now(indexed)
        indexed.execute("SELECT pg_stat_reset()")
        wait_for("the reset", lambda: True if observed_since(collected(collector)) > first else None)
        since = observed_since(collected(collector))

    assert first < before < since


def test_resetting_the_counters_of_one_index_begins_anew(indexed: TestDatabase) -> None:
    use_index(indexed)
    with collector_of(described(indexed, DECLARED)) as collector:
        first = observed_since(collected(collector))
        before = now(indexed)
        indexed.execute("SELECT pg_stat_reset_single_table_counters(%s::regclass)", [IDX])
        wait_for("the reset", lambda: True if observed_since(collected(collector)) > first else None)
        snapshot = collected(collector)

    assert index_row(snapshot, IDX).idx_scan == 0
    assert first < before < observed_since(snapshot)


@pytest.mark.parametrize("reset", ["pg_stat_reset_shared('bgwriter')", "pg_stat_reset_slru('other')"])
def test_resetting_a_shared_view_changes_nothing(indexed: TestDatabase, reset: str) -> None:
    with collector_of(described(indexed, DECLARED)) as collector:
        first = observed_since(collected(collector))
        indexed.execute(f"SELECT {reset}")
        views = "SELECT stats_reset FROM pg_stat_bgwriter UNION ALL SELECT stats_reset FROM pg_stat_slru"
        newest = f"SELECT max(extract(epoch FROM stats_reset))::float8 FROM ({views}) AS v"
        wait_for("the reset", lambda: True if indexed.execute(newest)[0][0] > first else None)

        assert observed_since(collected(collector)) == first


def test_a_standby_begins_with_its_cloning_and_goes_on_when_promoted(
    indexed: TestDatabase, own_standby: OwnServer
) -> None:
    use_index(indexed)
    on_primary = collect_once(described(indexed, DECLARED))
    before = now(indexed)
    server = own_standby(indexed.server)
    wait_for_replay(indexed.server, server)
    standby = TestDatabase(server, indexed.name)
    with collector_of(described(standby, DECLARED)) as collector:
        cloned = collected(collector)
        use_index(standby)
        used = collected(collector)
        server.stop()
        server.start()
        restarted = collected(collector)
        standby.execute("SELECT pg_promote()")
        promoted = collected(collector)

    assert [row.facts and row.facts.in_recovery for row in (cloned, promoted)] == [True, False]
    assert [index_row(row, IDX).idx_scan for row in (on_primary, cloned, used)] == [1, 0, 1]
    assert observed_since(on_primary) < before < observed_since(cloned) == observed_since(used)
    # Before PostgreSQL 15 a standby forgets its counters with every restart.
    has_kept = server.version_num >= 150000
    assert index_row(restarted, IDX).idx_scan == has_kept
    assert (observed_since(restarted) == observed_since(used)) is has_kept
    assert index_row(promoted, IDX).idx_scan == has_kept
    assert observed_since(promoted) == observed_since(restarted)


# ------------------------------------------------------------------ the index


def test_an_index_made_by_hand_is_as_old_as_this_exporter_knows_it(every_database: TestDatabase) -> None:
    with_table(every_database)
    database = described(every_database, DECLARED)
    with collector_of(database) as collector:
        collected(collector)
        before = now(every_database)
        every_database.execute(CREATE)
        first = observed_since(collected(collector))
        after = now(every_database)
        second = observed_since(collected(collector))

    assert before < first < after
    assert second == first
    assert observed_since(collect_once(database)) > after


@pytest.fixture
def timed(own_server: OwnServer) -> TestDatabase:
    """A database on a server that keeps the time of every commit."""
    return with_table(own_database(own_server({"track_commit_timestamp": "on"})))


def test_with_commit_timestamps_an_exporter_that_restarts_knows_the_same(timed: TestDatabase) -> None:
    before = now(timed)
    timed.execute(CREATE)
    after = now(timed)

    first = observed_since(collect_once(described(timed, DECLARED)))
    second = observed_since(collect_once(described(timed, DECLARED)))

    assert before < first == second < after


def test_an_index_is_no_older_than_a_database_copied_from_a_template(timed: TestDatabase) -> None:
    timed.execute(CREATE)
    before = now(timed)
    copy = TestDatabase(timed.server, timed.server.create_database(timed.name))

    assert before < observed_since(collect_once(described(copy, DECLARED))) < now(copy)


def test_a_standby_that_asks_for_commit_times_which_its_primary_does_not_keep(
    database: TestDatabase, own_standby: OwnServer
) -> None:
    with_index(database)
    server = own_standby(database.server, {"track_commit_timestamp": "on"})
    wait_for_replay(database.server, server)
    standby = TestDatabase(server, database.name)
    before = now(standby)

    assert before < observed_since(collect_once(described(standby, DECLARED))) < now(standby)


@pytest.fixture
def migrated(database: TestDatabase) -> Database:
    """A database in which `init` built the declared index, as the settings describe it."""
    given = described(with_table(database), DECLARED)
    outcome = initialise(given, given.manifests[0], RunOptions())
    assert {result.status.value for result in outcome.results} == {"done"}
    return given


def test_the_journal_knows_when_an_index_was_built(database: TestDatabase, migrated: Database) -> None:
    ((built_at,),) = database.execute(
        "SELECT extract(epoch FROM at)::float8 FROM migration_events WHERE phase = 'catalog_ok'"
    )
    assert observed_since(collect_once(migrated)) == built_at


def test_the_journal_does_not_speak_for_an_index_that_was_made_anew(
    database: TestDatabase, migrated: Database
) -> None:
    database.execute(f"DROP INDEX {IDX}")
    before = now(database)
    database.execute(CREATE)

    assert observed_since(collect_once(migrated)) > before


def test_the_journal_of_a_template_does_not_speak_for_its_copy(
    database: TestDatabase, migrated: Database
) -> None:
    before = now(database)
    copy = TestDatabase(database.server, database.server.create_database(database.name))
    try:
        since = observed_since(collect_once(described(copy, DECLARED)))
    finally:
        copy.server.drop_database(copy.name)

    assert since > before


def test_a_journal_whose_events_may_not_be_read_is_a_gap(database: TestDatabase, migrated: Database) -> None:
    role = f"{database.name}_reader"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'throw-away'")
    database.execute(f"GRANT SELECT ON migration_log TO {role}")
    try:
        given = described(database, DECLARED, user=role, password="throw-away")
        before = now(database)
        snapshot = collect_once(given)
    finally:
        database.execute(f"DROP OWNED BY {role}")
        database.execute(f"DROP ROLE {role}")

    assert failures(snapshot)["journal"] == "no SELECT on public.migration_events"
    assert observed_since(snapshot) > before


@pytest.mark.parametrize(
    ("change", "is_kept"),
    [
        (f"REINDEX INDEX {IDX}", True),
        (f"REINDEX INDEX CONCURRENTLY {IDX}", True),
        ("VACUUM FULL messages", True),
        (f"ALTER TABLE messages CLUSTER ON {IDX}", True),
        ("ALTER TABLE messages ALTER id TYPE bigint", False),
        (f"DROP INDEX {IDX}; {CREATE}", False),
    ],
)
def test_what_keeps_the_counters_keeps_the_epoch(indexed: TestDatabase, change: str, is_kept: bool) -> None:
    with collector_of(described(indexed, DECLARED)) as collector:
        collected(collector)
        use_index(indexed)
        before = collected(collector)
        for statement in change.split("; "):
            indexed.execute(statement)
        # Before PostgreSQL 15 counters taken along arrive later than their index.
        wait_for("the counters", lambda: True if scans(indexed) == is_kept else None)
        after = collected(collector)

    assert index_row(before, IDX).idx_scan == 1
    assert (index_row(after, IDX).idx_scan == 1) is is_kept
    assert (observed_since(after) == observed_since(before)) is is_kept


def test_an_index_that_is_not_valid_has_no_epoch(indexed: TestDatabase) -> None:
    with collector_of(described(indexed, DECLARED)) as collector:
        first = observed_since(collected(collector))
        indexed.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [IDX])
        invalid = collected(collector)
        indexed.execute(f"REINDEX INDEX {IDX}")
        after = collected(collector)

    assert invalid.observed_since == {}
    assert observed_since(after) > first
