"""What a run does about those it waits for and those who wait for it, by its policies, on a real server."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from exporter.migrate.events import EventKind
from exporter.migrate.options import BlockerPolicy, Patterns, WaiterPolicy, WatchOptions
from exporter.model import StepKind, StepStatus
from tests.conftest import TestDatabase
from tests.postgres.migrate.running import QUICK, Beside, Run
from tests.support.builds import as_declared, executing, indexes_of, waiting_build
from tests.support.declared import declare, manifest_of
from tests.support.postgres_server import Connection
from tests.support.roles import PASSWORD
from tests.support.waiting import wait_for

SENDER = declare("idx_sender", "messages", "sender_id")
ONE = manifest_of(SENDER)
WRITING = "DELETE FROM messages WHERE false"
# Nothing is waited for before a build begins, so that what happens during it is seen.
AT_ONCE = WatchOptions(poll_seconds=0.1, quiesce_seconds=0.0, blocker_limit_seconds=0.5)
BUILT = {"idx_sender": True}


def run_of(database: TestDatabase, watch: WatchOptions, **rest: Any) -> Run:
    return Run(database, ONE, replace(QUICK, watch=watch, retry_base_seconds=0.1), **rest)


@contextmanager
def in_transaction(
    database: TestDatabase, application_name: str, statement: str, isolation: str = "READ COMMITTED"
) -> Iterator[Connection]:
    """A session that ran the statement and keeps its transaction open; it may be ended meanwhile."""
    dsn = make_conninfo(database.dsn, application_name=application_name)
    # Leaving a connection's own block would commit, which an ended session cannot.
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        connection.execute(sql.SQL("BEGIN ISOLATION LEVEL {}").format(sql.SQL(isolation)))
        connection.execute(statement)
        yield connection


def is_alive(database: TestDatabase, pid: int) -> bool:
    return database.execute("SELECT true FROM pg_stat_activity WHERE pid = %s", [pid]) != []


def notes_of(run: Run) -> list[str]:
    return [event.text for event in run.events if event.kind in (EventKind.NOTE, EventKind.WAIT)]


def wait_for_note(run: Run, part: str) -> str:
    return wait_for(f"a note of {part!r}", lambda: next((one for one in notes_of(run) if part in one), None))


def actions_of(database: TestDatabase) -> list[dict[str, Any]]:
    """The details of every action that is on record."""
    rows = database.execute("SELECT detail FROM migration_events WHERE detail ? 'action' ORDER BY id")
    return [detail for (detail,) in rows]


# ------------------------------------------------------------------ blockers


def test_by_default_blockers_are_told_of_and_waited_for(shop: TestDatabase) -> None:
    run = run_of(shop, replace(AT_ONCE, blocker_limit_seconds=0.0))
    with in_transaction(shop, "checkout", WRITING) as writer, Beside(run.init) as beside:
        note = wait_for_note(run, "waits for pid")
        assert is_alive(shop, writer.info.backend_pid)
        writer.execute("ROLLBACK")
        (build, _) = beside.results()

    assert "checkout, idle in transaction" in note
    assert note.endswith(WRITING)
    assert build.status is StepStatus.DONE
    assert actions_of(shop) == []


def test_only_the_blockers_that_match_are_terminated_and_it_is_on_record(shop: TestDatabase) -> None:
    patterns = Patterns(applications=("check*",), databases=(shop.name,))
    run = run_of(shop, replace(AT_ONCE, on_blocker=BlockerPolicy.TERMINATE, patterns=patterns))
    with (
        in_transaction(shop, "report", "SELECT 1", "REPEATABLE READ") as reader,
        in_transaction(shop, "checkout", WRITING) as writer,
        Beside(run.init) as beside,
    ):
        doomed = writer.info.backend_pid
        wait_for("the end of the blocker", lambda: None if is_alive(shop, doomed) else True)
        wait_for_note(run, "(it matches none of the given patterns)")
        assert is_alive(shop, reader.info.backend_pid)
        reader.execute("ROLLBACK")
        (build, _) = beside.results()

    assert build.status is StepStatus.DONE
    before, after = actions_of(shop)
    assert (before["action"], before["session"]["pid"]) == ("terminate", doomed)
    assert before["session"]["application_name"] == "checkout"
    assert before["session"]["query"] == WRITING
    assert "it has blocked the build for" in before["because"]
    assert after == before | {"outcome": "signalled"}
    assert any(
        note.startswith(f"terminating pid {doomed}, user postgres, checkout") for note in notes_of(run)
    )
    # An action is no end of what is known of the index.
    rows = shop.execute(
        "SELECT DISTINCT definition IS NOT NULL FROM migration_events WHERE detail ? 'action'"
    )
    assert rows == [(True,)]


def test_a_statement_is_cancelled_and_an_idle_transaction_outlives_that(shop: TestDatabase) -> None:
    options = replace(AT_ONCE, on_blocker=BlockerPolicy.CANCEL, patterns=Patterns(users=("postgres",)))
    run = run_of(shop, options)
    with (
        in_transaction(shop, "checkout", WRITING) as writer,
        executing(shop.dsn, "SELECT pg_sleep(600)") as sleeping,
        Beside(run.init) as beside,
    ):
        writing = writer.info.backend_pid
        wait_for_note(run, "only terminate ends its transaction")
        writer.execute("ROLLBACK")
        (build, _) = beside.results()

    assert build.status is StepStatus.DONE
    told = [(one["session"]["pid"], one.get("outcome")) for one in actions_of(shop)]
    assert told == [(writing, None), (writing, "signalled"), (sleeping, None), (sleeping, "signalled")]


def test_what_the_server_refuses_is_said_and_on_record(shop: TestDatabase) -> None:
    with builder_of(shop) as name:
        options = replace(
            AT_ONCE, on_blocker=BlockerPolicy.TERMINATE, patterns=Patterns(applications=("check*",))
        )
        run = run_of(shop, options, declared=as_declared(shop, name, PASSWORD))
        with in_transaction(shop, "checkout", WRITING) as writer, Beside(run.init) as beside:
            wait_for_note(run, "refused: ")
            writer.execute("ROLLBACK")
            (build, _) = beside.results()
        actions = actions_of(shop)

    assert build.status is StepStatus.DONE
    assert [("refused" in one.get("outcome", "")) for one in actions] == [False, True]


# ------------------------------------------------------------------ budgets


@pytest.mark.parametrize(
    ("statement", "isolation", "budget", "phase"),
    [
        (WRITING, "READ COMMITTED", "writers_budget_seconds", "waiting for writers before build"),
        ("SELECT 1", "REPEATABLE READ", "snapshots_budget_seconds", "waiting for old snapshots"),
        (
            "LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE",
            "READ COMMITTED",
            "table_budget_seconds",
            "waiting for the table",
        ),
    ],
)
def test_a_build_that_stalls_is_given_up_and_nothing_is_left(
    shop: TestDatabase, statement: str, isolation: str, budget: str, phase: str
) -> None:
    run = run_of(shop, replace(AT_ONCE, **{budget: 1.0}))  # type: ignore[arg-type]  # a number of seconds
    with in_transaction(shop, "checkout", statement, isolation) as blocker, Beside(run.init) as beside:
        wait_for_note(run, "abandoning")
        # Who holds the table holds the cleaning up, too.
        if "messages" in statement:
            blocker.execute("ROLLBACK")
        (build, analyze) = beside.results()

    assert (build.status, analyze.status) == (StepStatus.FAILED, StepStatus.SKIPPED)
    assert build.attempts == 1
    assert (build.message or "").startswith(f"abandoned: {phase} for more than 1 s, last for pid ")
    assert "checkout" in (build.message or "")
    assert "give it more time" in (build.hint or "")
    assert indexes_of(shop) == {}


# ------------------------------------------------------------------ before a build begins


def test_a_build_begins_when_those_who_would_hold_it_up_are_gone(shop: TestDatabase) -> None:
    options = replace(AT_ONCE, quiesce_seconds=60.0, quiesce_age_seconds=0.0)
    run = run_of(shop, options)
    with in_transaction(shop, "report", "SELECT 1", "REPEATABLE READ") as reader, Beside(run.init) as beside:
        wait_for_note(run, f"waits before the build for pid {reader.info.backend_pid}")
        assert indexes_of(shop) == {}
        reader.execute("ROLLBACK")
        (build, _) = beside.results()

    assert build.status is StepStatus.DONE
    assert phases_of(shop)[:4] == [
        ("locked", "done"),
        ("quiesced", "in_progress"),
        ("quiesced", "done"),
        ("building", "in_progress"),
    ]


def test_a_build_begins_when_it_has_waited_long_enough(shop: TestDatabase) -> None:
    run = run_of(shop, replace(AT_ONCE, quiesce_seconds=0.6, quiesce_age_seconds=0.0))
    with in_transaction(shop, "checkout", WRITING) as writer, Beside(run.init) as beside:
        waiting_build(shop)
        writer.execute("ROLLBACK")
        (build, _) = beside.results()

    assert build.status is StepStatus.DONE
    assert any("starts after" in note for note in notes_of(run))
    assert ("quiesced", "failed") in phases_of(shop)


def test_who_would_hold_a_build_up_is_ended_before_it_begins(shop: TestDatabase) -> None:
    options = WatchOptions(
        quiesce_seconds=1.0,
        quiesce_age_seconds=0.0,
        on_blocker=BlockerPolicy.TERMINATE,
        blocker_limit_seconds=1.0,
        patterns=Patterns(applications=("report",)),
    )
    run = run_of(shop, options)
    with in_transaction(shop, "report", "SELECT 1", "REPEATABLE READ") as reader, Beside(run.init) as beside:
        (build, _) = beside.results()
        assert not is_alive(shop, reader.info.backend_pid)

    assert build.status is StepStatus.DONE
    assert [one.get("outcome") for one in actions_of(shop)] == [None, "signalled"]
    assert phases_of(shop)[:2] == [("locked", "done"), ("quiesced", "in_progress")]
    assert ("quiesced", "done") in phases_of(shop)


def phases_of(database: TestDatabase) -> list[tuple[str, str]]:
    return database.execute(
        "SELECT phase, status FROM migration_events WHERE index_name = 'idx_sender' ORDER BY id"
    )


# ------------------------------------------------------------------ waiters


@pytest.mark.oldest_too
def test_who_queues_is_told_of_with_what_comes_of_it(shop: TestDatabase) -> None:
    run = run_of(shop, AT_ONCE)
    with in_transaction(shop, "checkout", WRITING) as writer, Beside(run.init):
        waiting_build(shop)
        with executing(shop.dsn, "ALTER TABLE messages ADD COLUMN more int") as pid:
            note = wait_for_note(run, f"WARNING: pid {pid}")
        writer.execute("ROLLBACK")

    assert "waits for AccessExclusiveLock behind it" in note
    assert "readers too" in note
    assert "the build will wait for it at the end, and fail by deadlock" in note


@pytest.mark.oldest_too
def test_a_build_makes_way_and_is_tried_again(shop: TestDatabase) -> None:
    options = replace(AT_ONCE, on_waiter=WaiterPolicy.YIELD, waiter_limit_seconds=0.2)
    run = run_of(shop, options)
    with in_transaction(shop, "checkout", WRITING) as writer, Beside(run.init) as beside:
        waiting_build(shop)
        # At its end it is cancelled, unless it had its way before.
        with executing(shop.dsn, "ALTER TABLE messages ADD COLUMN more int"):
            wait_for_note(run, "abandoning the build and cleaning up: yielded to pid")
            writer.execute("ROLLBACK")
            columns = (
                "SELECT true FROM pg_attribute WHERE attrelid = 'messages'::regclass AND attname = 'more'"
            )
            wait_for("the new column", lambda: shop.execute(columns) or None)
        (build, _) = beside.results()

    assert (build.status, build.attempts) == (StepStatus.DONE, 2)
    assert indexes_of(shop) == BUILT


@pytest.mark.oldest_too
def test_a_waiter_that_matches_is_cancelled_and_the_build_saved(shop: TestDatabase) -> None:
    patterns = Patterns(applications=("maintenance",))
    options = replace(AT_ONCE, on_waiter=WaiterPolicy.CANCEL, waiter_limit_seconds=0.2, patterns=patterns)
    run = run_of(shop, options)
    dsn = make_conninfo(shop.dsn, application_name="maintenance")
    with in_transaction(shop, "checkout", WRITING) as writer, Beside(run.init) as beside:
        waiting_build(shop)
        with executing(dsn, "ANALYZE messages") as pid:
            wait_for_note(run, f"pid {pid}: signalled")
        writer.execute("ROLLBACK")
        (build, _) = beside.results()

    assert (build.status, build.attempts) == (StepStatus.DONE, 1)
    assert [one["action"] for one in actions_of(shop)] == ["cancel", "cancel"]


@contextmanager
def builder_of(shop: TestDatabase, *grants: str) -> Iterator[str]:
    """A role that owns the table, reads all statistics and has those grants; its database goes with it."""
    name = f"{shop.name}_builder"
    role = sql.Identifier(name)
    shop.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, PASSWORD))
    for statement in (
        "GRANT pg_read_all_stats TO {}",
        "ALTER TABLE messages OWNER TO {}",
        "GRANT CREATE ON SCHEMA public TO {}",
        *grants,
    ):
        shop.execute(sql.SQL(statement).format(role))
    try:
        yield name
    finally:
        shop.server.drop_database(shop.name)
        shop.server.execute(sql.SQL("DROP OWNED BY {}").format(role))
        shop.server.execute(sql.SQL("DROP ROLE {}").format(role))


def waits_long_for(database: TestDatabase, waiting: int, waited_for: int) -> bool:
    """That one process has waited for the other for longer than the server's deadlock_timeout of a second."""
    rows = database.execute(
        """
        SELECT true FROM pg_locks
        WHERE pid = %(pid)s AND NOT granted AND clock_timestamp() - waitstart > interval '2 s'
            AND %(other)s = ANY (pg_blocking_pids(%(pid)s))
        """,
        {"pid": waiting, "other": waited_for},
    )
    return rows != []


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        (["GRANT SET ON PARAMETER deadlock_timeout TO {}"], (1, None)),
        ([], (2, "attempt 1 failed: deadlock detected; trying again")),
    ],
    ids=["granted", "not granted"],
)
def test_a_build_outlasts_who_queues_behind_it_where_it_may(
    shop: TestDatabase, grants: list[str], expected: tuple[int, str | None]
) -> None:
    with builder_of(shop, *grants) as name:
        run = run_of(shop, AT_ONCE, declared=as_declared(shop, name, PASSWORD))
        with in_transaction(shop, "checkout", WRITING) as writer, Beside(run.init) as beside:
            build = waiting_build(shop)
            with executing(shop.dsn, "ANALYZE messages") as analyze:
                wait_for("the queue", lambda: waits_long_for(shop, analyze, build) or None)
                writer.execute("ROLLBACK")
                wait_for(
                    "a deadlock that is not looked for, or its waiter",
                    lambda: (
                        waits_long_for(shop, build, analyze)
                        or "deadlock detected" in " ".join(notes_of(run))
                        or None
                    ),
                )
            (result, _) = beside.results()

    attempts, note = expected
    assert (result.status, result.attempts) == (StepStatus.DONE, attempts)
    assert note is None or note in notes_of(run)


# ------------------------------------------------------------------ drops


@pytest.mark.oldest_too
def test_a_reader_that_blocks_a_drop_is_ended_where_the_policy_says_so(shop: TestDatabase) -> None:
    assert run_of(shop, AT_ONCE).init()[0].status is StepStatus.DONE
    options = replace(
        AT_ONCE,
        on_blocker=BlockerPolicy.TERMINATE,
        patterns=Patterns(applications=("report",)),
        # A drop is never abandoned: half-way it leaves the index INVALID.
        writers_budget_seconds=0.1,
        snapshots_budget_seconds=0.1,
        table_budget_seconds=0.1,
    )
    run = run_of(shop, options)
    with (
        in_transaction(shop, "report", "SELECT count(*) FROM messages") as reader,
        Beside(run.rollback) as beside,
    ):
        (drop, _) = beside.results()
        assert not is_alive(shop, reader.info.backend_pid)

    assert (drop.step.kind, drop.status) == (StepKind.DROP, StepStatus.DONE)
    assert indexes_of(shop) == {}
