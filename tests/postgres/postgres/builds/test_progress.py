"""Progress of builds: phase, whom they wait for and who queues behind, as the server shows them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from psycopg import sql

from exporter.postgres.builds.progress import BuildProgress, read_builds
from exporter.postgres.sessions.other_sessions import OtherSession, signal_session
from tests.conftest import OwnServer, TestDatabase
from tests.support.builds import executing, held_build, session, waiting_build, writer
from tests.support.postgres_server import Connection, Statement
from tests.support.roles import PASSWORD
from tests.support.waiting import wait_for

CONCURRENTLY = "CREATE INDEX CONCURRENTLY idx_id ON messages (id)"


def make_tables(database: TestDatabase) -> TestDatabase:
    database.execute("CREATE TABLE messages AS SELECT g AS id FROM generate_series(1, 1000) g")
    database.execute("CREATE TABLE posts AS SELECT * FROM messages")
    return database


@pytest.fixture
def messages(database: TestDatabase) -> TestDatabase:
    """A database with two small tables."""
    return make_tables(database)


@pytest.fixture
def every_messages(every_database: TestDatabase) -> TestDatabase:
    """The same on each version."""
    return make_tables(every_database)


@contextmanager
def in_transaction(database: TestDatabase, *statements: Statement, isolation: str) -> Iterator[int]:
    """The process of a session that ran the statements and keeps its transaction open."""
    with database.connect() as connection:
        connection.execute(sql.SQL("BEGIN ISOLATION LEVEL {}").format(sql.SQL(isolation)))
        for statement in statements:
            connection.execute(statement)
        yield connection.info.backend_pid
        connection.execute("ROLLBACK")


def look(database: TestDatabase, *pids: int) -> list[BuildProgress]:
    with session(database) as connection:
        return read_builds(connection, pids)


def blocked_build(database: TestDatabase, phase: str, blocker: int | None) -> BuildProgress:
    """The one build of the database once it waits in the phase for that process."""

    def waiting() -> BuildProgress | None:
        for build in look(database):
            if build.phase == phase and blocker in [one.pid for one in build.blockers]:
                return build
        return None

    return wait_for(f"a build {phase} for {blocker}", waiting)


def waiter_of(database: TestDatabase, build_pid: int, waiter_pid: int) -> OtherSession:
    def waiting() -> OtherSession | None:
        found = [one for build in look(database) if build.pid == build_pid for one in build.waiters]
        # How long it waits is known a moment after it began.
        return next((one for one in found if one.pid == waiter_pid and one.waiting_seconds is not None), None)

    return wait_for(f"pid {waiter_pid} behind the build", waiting)


def test_nothing_runs(messages: TestDatabase) -> None:
    assert look(messages) == []


def test_a_build_is_seen_with_whom_it_waits_for(messages: TestDatabase) -> None:
    with held_build(messages, CONCURRENTLY, "pg-index-exporter/run1/idx_id") as pid:
        build = wait_for(
            "how long the build waits",
            lambda: next((one for one in look(messages) if one.waiting_seconds is not None), None),
        )
        [(relid, index_relid)] = messages.execute(
            "SELECT 'messages'::regclass::oid::int8, 'idx_id'::regclass::oid::int8"
        )

    assert (build.pid, build.relid, build.index_relid) == (pid, relid, index_relid)
    assert (build.application_name, build.usename) == ("pg-index-exporter/run1/idx_id", "postgres")
    assert (build.command, build.phase) == (
        "CREATE INDEX CONCURRENTLY",
        "waiting for writers before build",
    )
    assert (build.indexname, build.amname, build.is_concurrent) == ("idx_id", "btree", True)
    assert (build.lockers_total, build.lockers_done, build.share) == (1, 0, 0.0)
    (blocker,) = build.blockers
    assert (blocker.application_name, blocker.state) == ("a writer", "idle in transaction")
    assert (blocker.usename, blocker.backend_type) == ("postgres", "client backend")
    assert build.blocker_age_seconds == blocker.transaction_age_seconds is not None
    assert blocker.shown_query == 'DELETE FROM "messages" WHERE false'
    assert f"pid {blocker.pid}, user postgres, a writer, idle in transaction" in blocker.described
    assert (build.waiters, build.waiter_count, build.stops_readers) == ((), 0, 0)


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


def test_a_build_in_its_lock_queue_is_seen_by_its_process(every_messages: TestDatabase) -> None:
    lock = "LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE"
    with (
        in_transaction(every_messages, lock, isolation="READ COMMITTED") as blocker,
        executing(every_messages.dsn, CONCURRENTLY) as pid,
    ):
        build = wait_for(
            "a build that queues",
            lambda: next((one for one in look(every_messages, pid) if one.waiting_seconds), None),
        )
        assert look(every_messages) == []

    assert (build.pid, build.phase, build.command, build.share) == (pid, None, None, None)
    assert [one.pid for one in build.blockers] == [blocker]


def test_a_process_that_is_gone_is_not_seen(messages: TestDatabase) -> None:
    with messages.connect() as connection:
        pid = connection.info.backend_pid
    wait_for("the end of the session", lambda: look(messages, pid) == [] or None)


# ------------------------------------------------------------------ blockers at the end of a build


@pytest.mark.parametrize(
    ("isolation", "statements"),
    [
        ("REPEATABLE READ", ["SELECT count(*) FROM posts"]),
        ("READ COMMITTED", ["DECLARE c CURSOR FOR SELECT * FROM posts", "FETCH 1 FROM c"]),
    ],
    ids=["old snapshot", "open cursor"],
)
def test_a_snapshot_is_waited_for_at_the_end(
    every_messages: TestDatabase, isolation: str, statements: list[str]
) -> None:
    with (
        in_transaction(every_messages, *statements, isolation=isolation) as blocker,
        executing(every_messages.dsn, CONCURRENTLY),
    ):
        build = blocked_build(every_messages, "waiting for old snapshots", blocker)

    (found,) = build.blockers
    assert (found.pid, found.has_snapshot, found.state) == (blocker, True, "idle in transaction")
    assert build.share == 1.0


def test_a_session_that_waits_for_an_advisory_lock_is_waited_for(messages: TestDatabase) -> None:
    with messages.connect() as holder:
        holder.execute("SELECT pg_advisory_lock(1)")
        with executing(messages.dsn, "SELECT pg_advisory_lock(1)") as blocker:
            wait_for(
                "the waiting lock",
                lambda: messages.execute("SELECT true WHERE pg_blocking_pids(%s) <> '{}'", [blocker]) or None,
            )
            with executing(messages.dsn, CONCURRENTLY):
                build = blocked_build(messages, "waiting for old snapshots", blocker)

    assert [(one.pid, one.shown_query) for one in build.blockers] == [(blocker, "SELECT pg_advisory_lock(?)")]


@pytest.mark.parametrize("kind", ["14", "18"])
def test_a_prepared_transaction_is_waited_for(own_server: OwnServer, kind: str) -> None:
    server = own_server({"max_prepared_transactions": "4"}, kind=kind)
    database = make_tables(TestDatabase(server, "postgres"))
    with ExitStack() as stack:
        for name in ("one", "other"):
            preparing = stack.enter_context(database.connect())
            preparing.execute("BEGIN")
            preparing.execute("DELETE FROM messages WHERE id = 1" if name == "one" else "DELETE FROM posts")
            preparing.execute(f"PREPARE TRANSACTION '{name}'")
            # Its place in the list of processes is free for the next session now.
        with executing(database.dsn, CONCURRENTLY):
            build = blocked_build(database, "waiting for writers before build", None)
            (found,) = build.blockers

    assert (found.gid, found.usename, found.mode) == ("one", "postgres", "RowExclusiveLock")
    assert found.transaction_age_seconds is not None
    assert build.blocker_age_seconds == found.transaction_age_seconds
    assert found.described.startswith("prepared transaction 'one', user postgres")


# ------------------------------------------------------------------ waiters


@pytest.mark.parametrize(
    ("statement", "mode", "ends_build"),
    [
        ("ANALYZE messages", "ShareUpdateExclusiveLock", True),
        ("ALTER TABLE messages ADD COLUMN more int", "AccessExclusiveLock", True),
        ("CREATE INDEX CONCURRENTLY idx_2 ON messages (id)", "ShareUpdateExclusiveLock", True),
        ("VACUUM messages", "ShareUpdateExclusiveLock", False),
    ],
)
def test_who_queues_behind_a_build_is_seen(
    every_messages: TestDatabase, statement: str, mode: str, ends_build: bool
) -> None:
    with (
        held_build(every_messages, CONCURRENTLY, "psql") as build_pid,
        executing(every_messages.dsn, statement) as pid,
    ):
        waiter = waiter_of(every_messages, build_pid, pid)

    assert (waiter.pid, waiter.mode, waiter.usename) == (pid, mode, "postgres")
    assert waiter.stops_readers is (mode == "AccessExclusiveLock")
    assert waiter.ends_build is ends_build
    assert waiter.shown_query == statement


def test_a_reader_behind_one_that_waits_is_seen_too(messages: TestDatabase) -> None:
    with (
        held_build(messages, CONCURRENTLY, "psql") as build_pid,
        executing(messages.dsn, "ALTER TABLE messages ADD COLUMN more int") as altering,
    ):
        waiter_of(messages, build_pid, altering)
        with executing(messages.dsn, "SELECT count(*) FROM messages") as reading:
            reader = waiter_of(messages, build_pid, reading)
            (build,) = look(messages)

    assert (reader.mode, reader.stops_readers, reader.ends_build) == ("AccessShareLock", False, False)
    assert (build.waiter_count, build.stops_readers) == (2, 1)


def test_writers_behind_a_build_that_is_not_concurrent_are_seen(messages: TestDatabase) -> None:
    with messages.connect() as builder:
        builder.execute("BEGIN")
        builder.execute("CREATE INDEX idx_id ON messages (id)")
        builder_pid = builder.info.backend_pid
        with executing(messages.dsn, "DELETE FROM messages WHERE false") as pid:
            found = wait_for(
                "the writer",
                lambda: next((one for build in look(messages, builder_pid) for one in build.waiters), None),
            )

    assert (found.pid, found.mode) == (pid, "RowExclusiveLock")


# ------------------------------------------------------------------ what a role may see


def test_a_role_without_rights_on_statistics_sees_its_own_builds(messages: TestDatabase) -> None:
    with (
        a_builder(messages) as (dsn, connection),
        writer(messages),
        executing(dsn, CONCURRENTLY) as pid,
    ):
        waiting_build(messages)
        (build,) = read_builds(connection)

    assert (build.pid, build.phase) == (pid, "waiting for writers before build")
    # Of the session that is waited for it sees who it is, and not what it does.
    (blocker,) = build.blockers
    assert (blocker.state, blocker.shown_query, blocker.transaction_age_seconds) == (None, None, None)
    assert blocker.described == f"pid {blocker.pid}, user postgres, a writer"
    assert build.blocker_age_seconds is None


@contextmanager
def a_builder(database: TestDatabase) -> Iterator[tuple[str, Connection]]:
    """The conninfo and a session of a role that owns the table and has no other right."""
    name = f"{database.name}_builder"
    role = sql.Identifier(name)
    database.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, PASSWORD))
    database.execute(sql.SQL("ALTER TABLE messages OWNER TO {}").format(role))
    database.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(role))
    try:
        with database.connect(name, PASSWORD) as connection:
            yield database.server.dsn(database.name, name, PASSWORD), connection
    finally:
        database.server.drop_database(database.name)
        database.server.execute(sql.SQL("DROP ROLE {}").format(role))


# ------------------------------------------------------------------ signals


def test_only_the_session_that_was_seen_is_ended(messages: TestDatabase) -> None:
    with held_build(messages, CONCURRENTLY, "psql"):
        ((blocker,),) = (build.blockers for build in look(messages))
        with session(messages) as connection:
            later = OtherSession(
                **{
                    name: getattr(blocker, name)
                    for name in OtherSession.__dataclass_fields__
                    if name != "xact_start"
                },
                xact_start=None,
            )
            assert not signal_session(connection, later, "terminate")
            assert [build.blockers[0].pid for build in read_builds(connection)] == [blocker.pid]
            # An idle transaction outlives a cancel.
            assert signal_session(connection, blocker, "cancel")
            assert [build.blockers[0].pid for build in read_builds(connection)] == [blocker.pid]
