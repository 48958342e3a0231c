"""Builds that another run began: followed, and in the care of the run that follows a dead one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from exporter.migrate.events import Event, EventKind
from exporter.migrate.options import BlockerPolicy, Patterns, StepOptions, WaiterPolicy, WatchOptions
from exporter.model import StepKind, StepStatus
from exporter.postgres.journal import EventStatus, Phase
from exporter.postgres.sessions.locks import acquire_table_lock
from tests.conftest import TestDatabase
from tests.postgres.migrate.execute.test_executor import CONCURRENTLY, SENDER, log_of
from tests.postgres.migrate.execute.test_watch import (
    AT_ONCE,
    WRITING,
    actions_of,
    in_transaction,
    is_alive,
    wait_for_note,
)
from tests.postgres.migrate.running import QUICK, Beside, Run, executed, statuses
from tests.support.builds import executing, held_build, indexes_of, journal_of, look_at, waiting_build, writer
from tests.support.declared import manifest_of
from tests.support.waiting import wait_for

ONE = manifest_of(SENDER)
DEAD = "pg-index-exporter/deadbeef/idx_sender"
BUILT = {"idx_sender": True}
OFTEN = replace(QUICK, retry_base_seconds=0.1)


@pytest.fixture
def begun(shop: TestDatabase) -> TestDatabase:
    """The database, with the intent of a run on record that is dead."""
    with journal_of(shop, run="deadbeef") as journal:
        journal.append(Phase.BUILDING, EventStatus.IN_PROGRESS, index_name="idx_sender")
    return shop


@contextmanager
def orphan(database: TestDatabase) -> Iterator[int]:
    """The process of a build whose run is dead; something has to hold it up."""
    with executing(make_conninfo(database.dsn, application_name=DEAD), CONCURRENTLY) as pid:
        yield pid


def run_of(database: TestDatabase, watch: WatchOptions = AT_ONCE, **rest: Any) -> Run:
    return Run(database, ONE, replace(OFTEN, watch=watch), **rest)


def once(kind: EventKind, what: Callable[[], None], part: str = "") -> Callable[[Event], None]:
    """What raises at the first event of that kind and is silent afterwards."""
    done: list[bool] = []

    def act(event: Event) -> None:
        if event.kind is kind and part in event.text and not done:
            done.append(True)
            what()

    return act


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_build_of_a_dead_run_is_followed_to_its_end(begun: TestDatabase) -> None:
    run = Run(begun, ONE)
    orphan = psycopg.connect(make_conninfo(begun.dsn, application_name=DEAD), autocommit=True)
    with orphan, writer(begun) as open_transaction, Beside(lambda: executed(orphan, CONCURRENTLY)):
        pid = waiting_build(begun, DEAD)
        with Beside(run.init) as beside:
            progress = run.wait_for("progress of the orphan", lambda event: event.progress is not None)
            open_transaction.execute("ROLLBACK")
            results = beside.results()

    assert progress.progress is not None
    assert progress.progress.pid == pid
    assert statuses(results) == [
        (StepKind.ADOPT, "idx_sender", StepStatus.DONE),
        (StepKind.ANALYZE, "messages", StepStatus.DONE),
    ]
    assert indexes_of(begun) == {"idx_sender": True}
    assert log_of(begun)["idx_sender"] == ("catalog_ok", "done")


def test_a_followed_build_that_ends_badly_is_built_anew(begun: TestDatabase) -> None:
    run = Run(begun, ONE)
    with held_build(begun, CONCURRENTLY, DEAD) as pid:
        following = Beside(run.init)
        run.wait_for("a note of the following", lambda event: f"pid {pid}" in event.text)
    results = following.results()

    assert {result.status for result in results} == {StepStatus.DONE}
    assert indexes_of(begun) == {"idx_sender": True}


# ------------------------------------------------------------------ in the care of the run that follows


def test_who_holds_up_a_dead_runs_build_is_ended_by_policy(begun: TestDatabase) -> None:
    patterns = Patterns(applications=("checkout",))
    run = run_of(begun, replace(AT_ONCE, on_blocker=BlockerPolicy.TERMINATE, patterns=patterns))
    with in_transaction(begun, "checkout", WRITING) as blocker, orphan(begun):
        waiting_build(begun, DEAD)
        results = run.init()
        assert not is_alive(begun, blocker.info.backend_pid)

    assert statuses(results)[0] == (StepKind.ADOPT, "idx_sender", StepStatus.DONE)
    assert [(one["action"], one.get("outcome")) for one in actions_of(begun)] == [
        ("terminate", None),
        ("terminate", "signalled"),
    ]
    assert indexes_of(begun) == BUILT


def test_who_would_end_a_dead_runs_build_is_cancelled_by_policy(begun: TestDatabase) -> None:
    patterns = Patterns(applications=("maintenance",))
    watch = replace(AT_ONCE, on_waiter=WaiterPolicy.CANCEL, waiter_limit_seconds=0.2, patterns=patterns)
    run = run_of(begun, watch)
    maintenance = make_conninfo(begun.dsn, application_name="maintenance")
    with in_transaction(begun, "checkout", WRITING) as blocker, orphan(begun), Beside(run.init) as beside:
        wait_for_note(run, "following the build")
        with executing(maintenance, "ANALYZE messages") as pid:
            wait_for_note(run, f"pid {pid}: signalled")
        blocker.execute("ROLLBACK")
        results = beside.results()

    assert statuses(results)[0] == (StepKind.ADOPT, "idx_sender", StepStatus.DONE)
    assert results[0].attempts == 1
    assert indexes_of(begun) == BUILT


def test_a_dead_runs_build_makes_way_and_is_built_anew(begun: TestDatabase) -> None:
    run = run_of(begun, replace(AT_ONCE, on_waiter=WaiterPolicy.YIELD, waiter_limit_seconds=0.2))
    with in_transaction(begun, "checkout", WRITING) as blocker, orphan(begun), Beside(run.init) as beside:
        wait_for_note(run, "following the build")
        with executing(begun.dsn, "ALTER TABLE messages ADD COLUMN more int"):
            wait_for_note(run, "abandoning the build and cleaning up: yielded to pid")
            blocker.execute("ROLLBACK")
            columns = (
                "SELECT true FROM pg_attribute WHERE attrelid = 'messages'::regclass AND attname = 'more'"
            )
            wait_for("the new column", lambda: begun.execute(columns) or None)
        results = beside.results()

    assert (results[0].status, results[0].attempts) == (StepStatus.DONE, 2)
    assert indexes_of(begun) == BUILT


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (replace(OFTEN, watch=replace(AT_ONCE, snapshots_budget_seconds=0.5)), "waiting for old snapshots"),
        (replace(OFTEN, deadline_seconds=1, watch=AT_ONCE), "it has run for more than 1 s"),
    ],
    ids=["stalled", "deadline"],
)
def test_a_dead_runs_build_is_given_up_and_nothing_is_left(
    begun: TestDatabase, options: StepOptions, reason: str
) -> None:
    run = Run(begun, ONE, options)
    with in_transaction(begun, "report", "SELECT 1", "REPEATABLE READ"), orphan(begun) as pid:
        wait_for("an INVALID index", lambda: indexes_of(begun) or None)
        (adopt, analyze) = run.init()

    assert (adopt.status, analyze.status) == (StepStatus.FAILED, StepStatus.SKIPPED)
    assert reason in (adopt.message or "")
    assert indexes_of(begun) == {}
    assert [(one["action"], one.get("outcome")) for one in actions_of(begun)] == [
        ("abandon", None),
        ("cancel", None),
        ("cancel", "signalled"),
    ]
    assert actions_of(begun)[-1]["session"] == {"pid": pid, "application_name": DEAD}
    assert log_of(begun)["idx_sender"] == ("building", "failed")


def test_ctrl_c_ends_a_dead_runs_build_and_cleans_up(begun: TestDatabase) -> None:
    run = run_of(begun, on_event=once(EventKind.PROGRESS, interrupt))
    with in_transaction(begun, "report", "SELECT 1", "REPEATABLE READ"), orphan(begun):
        wait_for("an INVALID index", lambda: indexes_of(begun) or None)
        (adopt, analyze) = run.init()

    assert (adopt.status, adopt.sqlstate) == (StepStatus.FAILED, "57014")
    assert analyze.status is StepStatus.SKIPPED
    assert indexes_of(begun) == {}
    assert [one["because"] for one in actions_of(begun)] == ["the run was stopped"] * 2


# ------------------------------------------------------------------ while it still waits for its table


@contextmanager
def queueing_orphan(database: TestDatabase) -> Iterator[int]:
    """The process of a dead run's build that has this tool's lock and waits for the table's."""
    (observed,) = look_at(database, ONE)
    with psycopg.connect(make_conninfo(database.dsn, application_name=DEAD), autocommit=True) as connection:
        assert acquire_table_lock(connection, observed.relid or 0, budget_seconds=0)
        pid = connection.info.backend_pid
        with Beside(lambda: _ended(connection)):
            queueing = "SELECT true FROM pg_locks WHERE pid = %s AND NOT granted"
            wait_for("the queue", lambda: database.execute(queueing, [pid]) or None)
            yield pid
            # A test that fails before it ended it.
            database.execute("SELECT pg_cancel_backend(%s)", [pid])


def _ended(connection: psycopg.Connection[tuple[object, ...]]) -> tuple[()]:
    try:
        connection.execute(CONCURRENTLY)
    except psycopg.errors.QueryCanceled:
        # Its client is dead: the lock goes with it.
        connection.close()
    return ()


@pytest.mark.parametrize("how", ["budget", "Ctrl-C"])
def test_a_dead_runs_build_that_queues_is_given_up(begun: TestDatabase, how: str) -> None:
    watch = replace(AT_ONCE, table_budget_seconds=0.5) if how == "budget" else AT_ONCE
    run = run_of(begun, watch)
    if how == "Ctrl-C":
        run.on_event = once(EventKind.PROGRESS, interrupt)
    locking = "LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE"
    with in_transaction(begun, "vacuum", locking), queueing_orphan(begun) as pid:
        (build, _) = run.init()
        wait_for("its end", lambda: None if is_alive(begun, pid) else True)

    assert (build.step.kind, build.status) == (StepKind.BUILD, StepStatus.FAILED)
    assert indexes_of(begun) == {}
    assert [one["action"] for one in actions_of(begun)][-2:] == ["cancel", "cancel"]


# ------------------------------------------------------------------ in the care of its own run


@contextmanager
def living_run(database: TestDatabase) -> Iterator[None]:
    """A session such as a run has beside its builds for as long as it lives."""
    dsn = make_conninfo(database.dsn, application_name="pg-index-exporter-init/deadbeef")
    with psycopg.connect(dsn):
        yield


def test_ctrl_c_leaves_a_living_runs_build_alone(begun: TestDatabase) -> None:
    run = run_of(begun, on_event=once(EventKind.PROGRESS, interrupt))
    with living_run(begun), held_build(begun, CONCURRENTLY, DEAD) as pid:
        (result, _) = run.init()

        assert result.status is StepStatus.DETACHED
        assert f"pid {pid}" in (result.message or "")
        assert waiting_build(begun) == pid
    assert actions_of(begun) == []


def test_no_policy_is_carried_out_for_a_living_runs_build(begun: TestDatabase) -> None:
    watch = replace(
        AT_ONCE,
        writers_budget_seconds=0.2,
        on_blocker=BlockerPolicy.TERMINATE,
        blocker_limit_seconds=0.2,
        patterns=Patterns(applications=("*",)),
    )
    run = run_of(begun, watch)
    with ExitStack() as held:
        held.enter_context(living_run(begun))
        blocker = held.enter_context(in_transaction(begun, "checkout", WRITING))
        held.enter_context(orphan(begun))
        waiting_build(begun, DEAD)
        with Beside(run.init) as beside:
            run.wait_for(
                "a stall",
                lambda event: event.observation is not None and event.observation.stalled_seconds > 1,
            )
            assert is_alive(begun, blocker.info.backend_pid)
            blocker.execute("ROLLBACK")
            results = beside.results()

    assert statuses(results)[0] == (StepKind.ADOPT, "idx_sender", StepStatus.DONE)
    assert actions_of(begun) == []
    wait_for_note(run, "its own run is alive and manages it")
