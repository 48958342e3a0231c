"""Progress of builds: phase, share and blocker as the server shows them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.postgres.progress import PHASE_WEIGHTS, BuildProgress, read_builds
from tests.conftest import TestDatabase
from tests.support.builds import executing, held_build, session, waiting_build, writer
from tests.support.waiting import wait_for

CONCURRENTLY = "CREATE INDEX CONCURRENTLY idx_id ON messages (id)"


def progress(phase: str, **rest: int | float | str | None) -> BuildProgress:
    """A build in that phase of which nothing else is known."""
    known: dict[str, object] = dict.fromkeys(BuildProgress.__dataclass_fields__)
    known |= {"pid": 1, "relid": 2, "index_relid": 3, "command": "CREATE INDEX CONCURRENTLY", "phase": phase}
    return BuildProgress(**(known | rest))  # type: ignore[arg-type]  # the fields by their names


@pytest.fixture
def messages(database: TestDatabase) -> TestDatabase:
    """A database with one small table."""
    database.execute("CREATE TABLE messages AS SELECT g AS id FROM generate_series(1, 1000) g")
    return database


def test_nothing_runs(messages: TestDatabase) -> None:
    with session(messages) as connection:
        assert read_builds(connection) == []


def test_a_build_is_seen_with_whom_it_waits_for(messages: TestDatabase) -> None:
    with held_build(messages, CONCURRENTLY, "pg-index-exporter/run1/idx_id") as pid:
        with session(messages) as connection:
            (build,) = read_builds(connection)
        [(relid, index_relid)] = messages.execute(
            "SELECT 'messages'::regclass::oid::int8, 'idx_id'::regclass::oid::int8"
        )

    assert (build.pid, build.relid, build.index_relid) == (pid, relid, index_relid)
    assert (build.application_name, build.usename) == ("pg-index-exporter/run1/idx_id", "postgres")
    assert (build.command, build.phase) == (
        "CREATE INDEX CONCURRENTLY",
        "waiting for writers before build",
    )
    assert (build.lockers_total, build.lockers_done, build.share) == (1, 0, 0.0)
    assert build.locker_application_name == "a writer"
    assert build.locker_state == "idle in transaction"
    assert build.locker_transaction_age_seconds is not None
    assert f"pid {build.current_locker_pid}, user postgres, a writer" in (build.waits_for or "")


def test_builds_of_other_databases_are_not_seen(messages: TestDatabase) -> None:
    other = messages.server.create_database()
    try:
        with (
            held_build(messages, CONCURRENTLY, "psql"),
            messages.server.connect(other) as connection,
        ):
            assert read_builds(connection) == []
    finally:
        messages.server.drop_database(other)


def test_a_build_in_its_lock_queue_has_no_row(messages: TestDatabase) -> None:
    with messages.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE")
        with executing(messages.dsn, CONCURRENTLY) as pid, session(messages) as connection:
            wait_for(
                "a build that queues",
                lambda: messages.execute("SELECT true WHERE pg_blocking_pids(%s) <> '{}'", [pid]) or None,
            )
            assert read_builds(connection) == []


def test_a_role_without_rights_on_statistics_sees_its_own_builds(messages: TestDatabase) -> None:
    messages.execute("CREATE ROLE builder LOGIN PASSWORD 'throw-away'")
    messages.execute("ALTER TABLE messages OWNER TO builder")
    messages.execute("GRANT CREATE ON SCHEMA public TO builder")
    dsn = messages.server.dsn(messages.name, "builder", "throw-away")
    try:
        with writer(messages), executing(dsn, CONCURRENTLY) as pid:
            waiting_build(messages)
            with messages.connect("builder", "throw-away") as connection:
                (build,) = read_builds(connection)
    finally:
        messages.server.drop_database(messages.name)
        messages.server.execute("DROP ROLE builder")

    assert (build.pid, build.phase) == (pid, "waiting for writers before build")
    # Of the session that is waited for it sees who it is, and not what it does.
    assert build.locker_state is None
    assert build.waits_for == f"pid {build.current_locker_pid}, user postgres, a writer"


# Shares of a whole build


def test_the_weights_add_up_to_a_whole() -> None:
    assert sum(weight for _, weight in PHASE_WEIGHTS) == pytest.approx(1.0)


counts = st.none() | st.integers(min_value=0, max_value=2**62)


@given(
    st.sampled_from([phase for phase, _ in PHASE_WEIGHTS] + ["a phase of a later version", ""]),
    counts,
    counts,
    counts,
    counts,
)
def test_a_share_is_between_nothing_and_all(
    phase: str, blocks: int | None, blocks_done: int | None, tuples: int | None, tuples_done: int | None
) -> None:
    build = progress(
        phase, blocks_total=blocks, blocks_done=blocks_done, tuples_total=tuples, tuples_done=tuples_done
    )

    assert 0 <= build.phase_share <= 1
    assert 0 <= build.share <= 1


def test_the_share_grows_from_phase_to_phase() -> None:
    shares = [progress(phase).share for phase, _ in PHASE_WEIGHTS]

    assert shares == sorted(shares)
    half = progress("building index: scanning table", blocks_total=10, blocks_done=5)
    assert half.share == pytest.approx(0.43 / 2)


def test_the_phase_of_an_access_method_without_sub_phases_is_most_of_the_build() -> None:
    gin = progress("building index", blocks_total=100, blocks_done=50)

    assert gin.phase_share == 0.5
    assert gin.share == pytest.approx(0.67 / 2)
    assert progress("waiting for writers before validation").share == pytest.approx(0.67)


def test_nobody_is_waited_for() -> None:
    assert progress("waiting for old snapshots").waits_for is None
    assert progress("waiting for old snapshots", current_locker_pid=0).waits_for is None
