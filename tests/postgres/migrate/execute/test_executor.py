"""Plans that are run against a real server: built, watched, cancelled, cleaned up, and on record."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from psycopg import sql

from exporter.errors import StepLeftBehind
from exporter.migrate.events import Detach, Event, EventKind
from exporter.migrate.options import StepOptions
from exporter.model import DeclaredIndex, IndexState, OnFailure, StepKind, StepStatus
from exporter.postgres.journal import EventStatus, Phase
from exporter.postgres.relations.tables import CompiledIndex, compile_index
from exporter.postgres.sessions.locks import acquire_table_lock
from exporter.postgres.target import Connection
from tests.conftest import TestDatabase
from tests.postgres.migrate.running import QUICK, Beside, Run, executed, statuses
from tests.support.builds import (
    as_declared,
    indexes_of,
    journal_of,
    leave_invalid,
    look_at,
    session,
    waiting_build,
    waiting_drop,
    writer,
)
from tests.support.declared import declare, manifest_of
from tests.support.waiting import wait_for

SENDER = declare("idx_sender", "messages", "sender_id", "created_at DESC", where="deleted_at IS NULL")
CONTENT = declare("idx_content", "messages", "content")
POST = declare("idx_post", "posts", "sender_id")
# Every sender has 100 messages.
DUPLICATES = declare("idx_unique", "messages", "sender_id", unique=True)
BOTH = manifest_of(SENDER, POST, analyze=("messages", "posts"))
CONCURRENTLY = (
    "CREATE INDEX CONCURRENTLY idx_sender ON messages (sender_id, created_at DESC) WHERE deleted_at IS NULL"
)
ABSENT: dict[str, bool] = {}


def log_of(database: TestDatabase) -> dict[str | None, tuple[str, str]]:
    """Phase and status of each index by the journal."""
    rows = database.execute("SELECT index_name, phase, status FROM migration_log WHERE name = '001_test'")
    return {name: (phase, status) for name, phase, status in rows}


def events_of(database: TestDatabase, index_name: str) -> list[tuple[str, str]]:
    """Phases and statuses of one index in the order in which they were written."""
    return database.execute(
        "SELECT phase, status FROM migration_events WHERE index_name = %s ORDER BY id", [index_name]
    )


# Well


def test_indexes_are_built_analyzed_and_on_record(shop: TestDatabase) -> None:
    results = Run(shop, BOTH).init()

    assert statuses(results) == [
        (StepKind.BUILD, "idx_sender", StepStatus.DONE),
        (StepKind.ANALYZE, "messages", StepStatus.DONE),
        (StepKind.BUILD, "idx_post", StepStatus.DONE),
        (StepKind.ANALYZE, "posts", StepStatus.DONE),
    ]
    assert indexes_of(shop) == {"idx_sender": True, "idx_post": True}
    assert [index.state for index in look_at(shop, BOTH)] == [IndexState.PRESENT] * 2
    assert events_of(shop, "idx_sender") == [
        ("locked", "done"),
        ("building", "in_progress"),
        ("catalog_ok", "done"),
    ]
    [(definition,)] = shop.execute("SELECT pg_get_indexdef('idx_sender'::regclass)")
    assert shop.execute("SELECT DISTINCT definition FROM migration_log WHERE index_name = 'idx_sender'") == [
        (definition,)
    ]


def test_a_second_run_has_nothing_to_do(shop: TestDatabase) -> None:
    Run(shop, BOTH).init()
    events = shop.execute("SELECT count(*) FROM migration_events")

    again = Run(shop, BOTH)

    assert again.init() == ()
    assert again.plan is not None
    assert [index.state for index in again.plan.settled] == [IndexState.PRESENT] * 2
    assert shop.execute("SELECT count(*) FROM migration_events") == events


def test_tables_are_built_on_side_by_side(shop: TestDatabase) -> None:
    run = Run(shop, BOTH)
    with writer(shop, "messages") as one, writer(shop, "posts") as other, Beside(run.init) as beside:
        wait_for(
            "two builds at once",
            lambda: (
                {build.progress.relid for build in run.events if build.progress}
                if len({build.progress.relid for build in run.events if build.progress}) == 2
                else None
            ),
        )
        one.execute("ROLLBACK")
        other.execute("ROLLBACK")
        results = beside.results()

    assert {result.status for result in results} == {StepStatus.DONE}


def test_sequential_is_one_table_after_the_other(shop: TestDatabase) -> None:
    run = Run(shop, BOTH, sequential=True)
    with writer(shop) as open_transaction, Beside(run.init):
        waiting_build(shop)
        assert [step.index for step in run.told(EventKind.STARTED)] == [SENDER]
        open_transaction.execute("ROLLBACK")

    kinds = [event.kind for event in run.events if event.kind in (EventKind.STARTED, EventKind.FINISHED)]
    assert kinds == [EventKind.STARTED, EventKind.FINISHED] * 4


def test_indexes_of_one_table_are_built_one_after_the_other(shop: TestDatabase) -> None:
    run = Run(shop, manifest_of(SENDER, CONTENT))
    with writer(shop) as open_transaction, Beside(run.init) as beside:
        waiting_build(shop)
        assert [step.index for step in run.told(EventKind.STARTED)] == [SENDER]
        open_transaction.execute("ROLLBACK")
        results = beside.results()

    assert statuses(results) == [
        (StepKind.BUILD, "idx_sender", StepStatus.DONE),
        (StepKind.BUILD, "idx_content", StepStatus.DONE),
        (StepKind.ANALYZE, "messages", StepStatus.DONE),
    ]


def test_a_build_waits_for_an_open_writer_and_its_progress_names_it(shop: TestDatabase) -> None:
    run = Run(shop, manifest_of(SENDER))
    with writer(shop) as open_transaction, Beside(run.init) as beside:
        pid = open_transaction.info.backend_pid
        event = run.wait_for(
            "a named blocker",
            lambda event: event.observation is not None and len(event.observation.blockers) > 0,
        )
        open_transaction.execute("ROLLBACK")
        (result, _) = beside.results()

    assert event.observation is not None
    assert event.observation.phase == "waiting for writers before build"
    assert event.observation.blockers[0].described.startswith(
        f"pid {pid}, user postgres, a writer, idle in transaction, transaction open for "
    )
    assert event.step.index == SENDER
    assert "waiting for writers before build" in {phase.phase for phase in result.phases}


# What stood there before


def test_an_invalid_leftover_of_ours_is_rebuilt(shop: TestDatabase) -> None:
    with journal_of(shop) as journal:
        journal.append(Phase.BUILDING, EventStatus.IN_PROGRESS, index_name="idx_sender")
    leave_invalid(shop, CONCURRENTLY)
    assert indexes_of(shop) == {"idx_sender": False}

    results = Run(shop, manifest_of(SENDER)).init()

    assert statuses(results) == [
        (StepKind.DROP_INVALID, "idx_sender", StepStatus.DONE),
        (StepKind.BUILD, "idx_sender", StepStatus.DONE),
        (StepKind.ANALYZE, "messages", StepStatus.DONE),
    ]
    assert indexes_of(shop) == {"idx_sender": True}
    assert ("cleanup", "done") in events_of(shop, "idx_sender")


def test_a_strangers_invalid_index_is_left_alone_until_told_otherwise(shop: TestDatabase) -> None:
    leave_invalid(shop, CONCURRENTLY)

    refused = Run(shop, BOTH)
    refused.init()
    assert indexes_of(shop) == {"idx_sender": False, "idx_post": True}
    assert refused.plan is not None
    assert [index.declared for index in refused.plan.refused] == [SENDER]

    Run(shop, BOTH, adopt_invalid=True).init()
    assert indexes_of(shop) == {"idx_sender": True, "idx_post": True}


def test_another_run_on_the_table_halts_this_one(shop: TestDatabase) -> None:
    (observed,) = look_at(shop, manifest_of(SENDER))
    with session(shop) as other:
        assert acquire_table_lock(other, observed.relid or 0, budget_seconds=0)
        results = Run(shop, BOTH, options=replace(QUICK, lock_budget_seconds=0.3)).init()

    assert (StepKind.BUILD, "idx_sender", StepStatus.HALTED) in statuses(results)
    assert "another run" in (results[0].message or "")
    assert "idx_sender" not in indexes_of(shop)


def test_two_equal_declarations_are_built_once(shop: TestDatabase) -> None:
    results = Run(shop, manifest_of(SENDER, replace(SENDER, name="idx_twin"))).init()

    assert {result.status for result in results} == {StepStatus.DONE}
    assert indexes_of(shop) == {"idx_sender": True}
    with journal_of(shop) as journal:
        assert set(journal.created()) == {"idx_sender"}


def test_what_another_built_meanwhile_stands_but_is_not_ours(shop: TestDatabase) -> None:
    def build_before(event: Event) -> None:
        if event.kind is EventKind.STARTED and event.step.index is not None:
            shop.execute(CONCURRENTLY)

    results = Run(shop, manifest_of(SENDER), on_event=build_before).init()

    assert {result.status for result in results} == {StepStatus.DONE}
    with journal_of(shop) as journal:
        assert journal.created() == {}


# Failures


@pytest.mark.oldest_too
def test_a_failing_step_leaves_nothing_behind_and_what_is_not_started_is_skipped(
    shop: TestDatabase,
) -> None:
    results = Run(shop, manifest_of(DUPLICATES, CONTENT, POST), sequential=True).init()

    assert statuses(results) == [
        (StepKind.BUILD, "idx_unique", StepStatus.FAILED),
        (StepKind.BUILD, "idx_content", StepStatus.SKIPPED),
        (StepKind.ANALYZE, "messages", StepStatus.SKIPPED),
        (StepKind.BUILD, "idx_post", StepStatus.SKIPPED),
        (StepKind.ANALYZE, "posts", StepStatus.SKIPPED),
    ]
    assert results[0].sqlstate == "23505"
    assert results[0].message == 'could not create unique index "idx_unique"'
    assert results[0].attempts == 1
    assert indexes_of(shop) == ABSENT
    assert events_of(shop, "idx_unique") == [
        ("locked", "done"),
        ("building", "in_progress"),
        ("cleanup", "in_progress"),
        ("cleanup", "done"),
        ("building", "failed"),
    ]
    assert shop.execute("SELECT detail->>'message' FROM migration_log WHERE index_name = 'idx_unique'") == [
        ('could not create unique index "idx_unique"',)
    ]


def test_a_failed_build_that_was_cleaned_up_is_not_ours_any_more(shop: TestDatabase) -> None:
    Run(shop, manifest_of(DUPLICATES)).init()

    with journal_of(shop) as journal:
        assert journal.created() == {}


def test_a_build_on_another_table_goes_on_when_one_fails(shop: TestDatabase) -> None:
    run = Run(shop, manifest_of(DUPLICATES, POST))
    with writer(shop, "posts") as open_transaction, Beside(run.init) as beside:
        run.wait_for("a failure", lambda event: event.result is not None and event.step.index == DUPLICATES)
        open_transaction.execute("ROLLBACK")
        results = beside.results()

    assert (StepKind.BUILD, "idx_unique", StepStatus.FAILED) in statuses(results)
    assert (StepKind.BUILD, "idx_post", StepStatus.DONE) in statuses(results)
    assert indexes_of(shop) == {"idx_post": True}


def test_what_was_built_on_another_table_is_analyzed_when_one_fails(shop: TestDatabase) -> None:
    run = Run(shop, manifest_of(DUPLICATES, POST))
    with writer(shop, "posts") as open_transaction, Beside(run.init) as beside:
        run.wait_for("a failure", lambda event: event.result is not None and event.step.index == DUPLICATES)
        open_transaction.execute("ROLLBACK")
        results = beside.results()

    assert statuses(results)[-2:] == [
        (StepKind.BUILD, "idx_post", StepStatus.DONE),
        (StepKind.ANALYZE, "posts", StepStatus.DONE),
    ]


def test_told_to_continue_everything_else_is_tried(shop: TestDatabase) -> None:
    run = Run(shop, manifest_of(DUPLICATES, CONTENT, POST), sequential=True, on_failure=OnFailure.CONTINUE)

    assert statuses(run.init()) == [
        (StepKind.BUILD, "idx_unique", StepStatus.FAILED),
        (StepKind.BUILD, "idx_content", StepStatus.DONE),
        (StepKind.ANALYZE, "messages", StepStatus.DONE),
        (StepKind.BUILD, "idx_post", StepStatus.DONE),
        (StepKind.ANALYZE, "posts", StepStatus.DONE),
    ]
    assert indexes_of(shop) == {"idx_content": True, "idx_post": True}


def test_told_to_cancel_all_what_runs_is_cancelled_and_cleaned_up(shop: TestDatabase) -> None:
    run = Run(shop, manifest_of(DUPLICATES, POST), on_failure=OnFailure.CANCEL_ALL)
    with writer(shop, "posts") as open_transaction, Beside(run.init) as beside:
        run.wait_for("the cancel", lambda event: "cancelling" in event.text and event.step.index == POST)
        waiting_drop(shop)
        open_transaction.execute("ROLLBACK")
        results = beside.results()

    assert [result.sqlstate for result in results] == ["23505", None, "57014", None]
    assert indexes_of(shop) == ABSENT


@pytest.fixture
def stranger(shop: TestDatabase) -> Iterator[str]:
    """The name of a role that may write the journal and owns nothing else."""
    shop.execute("CREATE ROLE stranger LOGIN PASSWORD 'throw-away'")
    shop.execute("GRANT CREATE ON SCHEMA public TO stranger")
    yield "stranger"
    shop.server.drop_database(shop.name)
    shop.server.execute("DROP ROLE stranger")


def test_analyze_that_is_skipped_is_a_failure(shop: TestDatabase, stranger: str) -> None:
    shop.execute(sql.SQL("ALTER TABLE posts OWNER TO {}").format(sql.Identifier(stranger)))
    run = Run(
        shop,
        manifest_of(POST, analyze=("messages",)),
        declared=as_declared(shop, stranger, "throw-away"),
    )

    results = run.init()

    assert statuses(results)[-1] == (StepKind.ANALYZE, "messages", StepStatus.FAILED)
    assert "messages" in (results[-1].message or "")
    assert results[-1].hint == "run as the owner of the table"


@pytest.mark.oldest_too
def test_a_build_that_passes_its_deadline_is_cleaned_up_and_not_tried_again(shop: TestDatabase) -> None:
    run = Run(shop, manifest_of(SENDER), options=replace(QUICK, deadline_seconds=1))
    with writer(shop) as open_transaction, Beside(run.init) as beside:
        waiting_drop(shop)
        open_transaction.execute("ROLLBACK")
        (result, _) = beside.results()

    assert (result.status, result.sqlstate, result.attempts) == (StepStatus.FAILED, "57014", 1)
    assert indexes_of(shop) == ABSENT
    assert log_of(shop)["idx_sender"] == ("building", "failed")


@pytest.mark.oldest_too
def test_a_leftover_that_can_be_neither_dropped_nor_renamed_is_named_and_rebuilt_by_the_next_run(
    shop: TestDatabase,
) -> None:
    with journal_of(shop) as journal:
        journal.append(Phase.BUILDING, EventStatus.IN_PROGRESS, index_name="idx_sender")
    leave_invalid(shop, CONCURRENTLY)
    with shop.connect() as commenting:
        commenting.execute("BEGIN")
        commenting.execute("COMMENT ON INDEX idx_sender IS 'held'")
        options = replace(QUICK, cleanup_budget_seconds=0.5)
        results = Run(shop, manifest_of(SENDER), options=options).init()
        commenting.execute("ROLLBACK")

    assert statuses(results)[:2] == [
        (StepKind.DROP_INVALID, "idx_sender", StepStatus.LEFT_BEHIND),
        (StepKind.BUILD, "idx_sender", StepStatus.SKIPPED),
    ]
    assert "the INVALID index public.idx_sender could not be dropped" in (results[0].message or "")
    assert 'DROP INDEX CONCURRENTLY "public"."idx_sender"' in (results[0].hint or "")
    assert indexes_of(shop) == {"idx_sender": False}
    assert log_of(shop)["idx_sender"] == ("cleanup", "left_behind")

    results = Run(shop, manifest_of(SENDER)).init()
    assert {result.status for result in results} == {StepStatus.DONE}
    assert indexes_of(shop) == {"idx_sender": True}


@pytest.mark.oldest_too
def test_a_killed_session_is_cleaned_up_and_the_build_tried_again(shop: TestDatabase) -> None:
    run = Run(shop, manifest_of(SENDER))
    with writer(shop) as open_transaction, Beside(run.init) as beside:
        shop.execute("SELECT pg_terminate_backend(%s)", [waiting_build(shop)])
        waiting_drop(shop)
        open_transaction.execute("ROLLBACK")
        (result, _) = beside.results()

    assert (result.status, result.attempts) == (StepStatus.DONE, 2)
    assert indexes_of(shop) == {"idx_sender": True}
    assert any("attempt 1 failed" in event.text for event in run.events)


def test_a_lock_that_somebody_took_after_the_failure_is_waited_for(shop: TestDatabase) -> None:
    run = Run(shop, manifest_of(SENDER))
    with shop.connect() as vacuum, Beside(run.init) as beside:
        with writer(shop):
            pid = waiting_build(shop)
            vacuum.execute("BEGIN")
            with Beside(lambda: executed(vacuum, "LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE")):
                wait_for(
                    "a queue behind the build",
                    lambda: (
                        shop.execute(
                            "SELECT true WHERE %s = ANY (pg_blocking_pids(%s))",
                            [pid, vacuum.info.backend_pid],
                        )
                        or None
                    ),
                )
                shop.execute("SELECT pg_cancel_backend(%s)", [pid])
        run.wait_for("the wait for the lock", lambda event: str(vacuum.info.backend_pid) in event.text)
        vacuum.execute("ROLLBACK")
        (result, _) = beside.results()

    assert (result.status, result.sqlstate) == (StepStatus.FAILED, "57014")
    assert indexes_of(shop) == ABSENT


# Signals, which reach the main thread where events are told


@pytest.mark.parametrize("budget_seconds", [600, 0.01])
def test_a_table_that_somebody_locks_before_the_build_is_waited_for_within_its_budget(
    shop: TestDatabase, monkeypatch: pytest.MonkeyPatch, budget_seconds: float
) -> None:
    monkeypatch.setattr("exporter.postgres.relations.tables.LOCK_TIMEOUT_MILLISECONDS", "100")
    watch = replace(QUICK.watch, table_budget_seconds=budget_seconds)
    with shop.connect() as stranger:

        def lock_at_the_start(event: Event) -> None:
            if event.kind is EventKind.STARTED:
                stranger.execute("BEGIN")
                stranger.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")

        def looking(connection: Connection, index: DeclaredIndex) -> CompiledIndex:
            looks.append(index)
            # More often than a build may be tried at all.
            if len(looks) > QUICK.max_attempts + 1:
                stranger.execute("ROLLBACK")
            return compile_index(connection, index)

        looks: list[DeclaredIndex] = []
        monkeypatch.setattr("exporter.migrate.execute.step_run.compile_index", looking)
        options = replace(QUICK, watch=watch, retry_base_seconds=0.1)
        run = Run(shop, manifest_of(SENDER), options, on_event=lock_at_the_start)
        (result, *_) = run.init()

    if budget_seconds > 1:
        assert (result.status, result.attempts) == (StepStatus.DONE, 1)
        assert indexes_of(shop) == {"idx_sender": True}
    else:
        assert (result.status, result.sqlstate) == (StepStatus.FAILED, "55P03")
        assert indexes_of(shop) == {}


def test_ctrl_c_cancels_and_leaves_nothing_invalid(shop: TestDatabase) -> None:
    interrupted: list[bool] = []

    def interrupt_once(event: Event) -> None:
        if event.kind is EventKind.PROGRESS and not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt

    run = Run(shop, manifest_of(SENDER, POST), on_event=interrupt_once, sequential=True)
    with writer(shop) as open_transaction, Beside(run.init) as beside:
        waiting_drop(shop)
        open_transaction.execute("ROLLBACK")
        results = beside.results()

    assert statuses(results) == [
        (StepKind.BUILD, "idx_sender", StepStatus.FAILED),
        (StepKind.ANALYZE, "messages", StepStatus.SKIPPED),
        (StepKind.BUILD, "idx_post", StepStatus.SKIPPED),
        (StepKind.ANALYZE, "posts", StepStatus.SKIPPED),
    ]
    assert results[0].sqlstate == "57014"
    assert {result.message for result in results[1:]} == {"not started because the run was stopped"}
    assert any("cancelling and cleaning up" in event.text for event in run.events)
    assert indexes_of(shop) == ABSENT


def test_a_second_ctrl_c_leaves_at_once_and_the_next_run_finishes(shop: TestDatabase) -> None:
    def interrupt_twice(event: Event) -> None:
        if event.kind is EventKind.PROGRESS or event.text == "cancelling and cleaning up":
            raise KeyboardInterrupt

    run = Run(shop, manifest_of(SENDER), on_event=interrupt_twice)
    with writer(shop), pytest.raises(StepLeftBehind, match="INVALID indexes may be left"):
        run.init()

    assert {result.status for result in Run(shop, manifest_of(SENDER)).init()} <= {StepStatus.DONE}
    assert indexes_of(shop) == {"idx_sender": True}


def test_sigterm_detaches_and_the_server_goes_on(shop: TestDatabase) -> None:
    def detach(event: Event) -> None:
        if event.kind is EventKind.PROGRESS:
            raise Detach

    run = Run(shop, manifest_of(SENDER), on_event=detach)
    with writer(shop) as open_transaction:
        results = run.init()
        pid = waiting_build(shop)
        assert log_of(shop)["idx_sender"] == ("detached", "in_progress")
        open_transaction.execute("ROLLBACK")

    assert statuses(results) == [
        (StepKind.BUILD, "idx_sender", StepStatus.DETACHED),
        (StepKind.ANALYZE, "messages", StepStatus.SKIPPED),
    ]
    assert f"pid {pid}" in (results[0].message or "")
    wait_for("a valid index", lambda: indexes_of(shop).get("idx_sender") or None)


# Drops


def test_rollback_drops_what_was_built_and_analyzes(shop: TestDatabase) -> None:
    Run(shop, BOTH).init()

    results = Run(shop, BOTH).rollback()

    assert statuses(results) == [
        (StepKind.DROP, "idx_sender", StepStatus.DONE),
        (StepKind.ANALYZE, "messages", StepStatus.DONE),
        (StepKind.DROP, "idx_post", StepStatus.DONE),
        (StepKind.ANALYZE, "posts", StepStatus.DONE),
    ]
    assert indexes_of(shop) == ABSENT
    assert log_of(shop)["idx_sender"] == ("dropped", "done")
    assert Run(shop, BOTH).rollback() == ()


@pytest.mark.oldest_too
def test_a_drop_that_stops_half_way_is_said_and_finished_by_the_next(shop: TestDatabase) -> None:
    Run(shop, manifest_of(SENDER)).init()
    with shop.connect() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages")
        impatient = replace(QUICK, deadline_seconds=1)
        (result, _) = Run(shop, manifest_of(SENDER), options=impatient).rollback()

    assert result.status is StepStatus.DEGRADED
    assert "public.idx_sender is INVALID now" in (result.message or "")
    assert indexes_of(shop) == {"idx_sender": False}
    assert log_of(shop)["idx_sender"] == ("dropping", "degraded")

    assert {result.status for result in Run(shop, manifest_of(SENDER)).rollback()} == {StepStatus.DONE}
    assert indexes_of(shop) == ABSENT


def test_a_drop_waits_for_no_other_run(shop: TestDatabase) -> None:
    Run(shop, manifest_of(SENDER)).init()
    (observed,) = look_at(shop, manifest_of(SENDER))
    with session(shop) as other:
        assert acquire_table_lock(other, observed.relid or 0, budget_seconds=0)
        options = replace(QUICK, lock_budget_seconds=0.3)
        (result, _) = Run(shop, manifest_of(SENDER), options=options).rollback()

    assert result.status is StepStatus.HALTED
    assert indexes_of(shop) == {"idx_sender": True}


def test_an_index_that_became_valid_is_not_dropped_as_a_leftover(shop: TestDatabase) -> None:
    leave_invalid(shop, CONCURRENTLY)

    def repair(event: Event) -> None:
        if event.kind is EventKind.STARTED and event.step.kind is StepKind.DROP_INVALID:
            shop.execute("REINDEX INDEX CONCURRENTLY idx_sender")

    oids = "SELECT indexrelid FROM pg_index WHERE indexrelid = 'idx_sender'::regclass"
    run = Run(shop, manifest_of(SENDER), adopt_invalid=True, on_event=repair)

    results = run.init()

    assert {result.status for result in results} == {StepStatus.DONE}
    assert indexes_of(shop) == {"idx_sender": True}
    assert len(shop.execute(oids)) == 1
    with journal_of(shop) as journal:
        assert journal.created() == {}


@pytest.mark.oldest_too
def test_the_deadline_is_the_servers(shop: TestDatabase) -> None:
    seen: list[str] = []

    def look(event: Event) -> None:
        if event.progress is not None:
            seen.append(event.progress.application_name or "")

    run = Run(shop, manifest_of(SENDER), options=StepOptions(poll_seconds=0.1), on_event=look)
    with writer(shop) as open_transaction, Beside(run.init):
        waiting_build(shop)
        run.wait_for("progress", lambda event: event.progress is not None)
        open_transaction.execute("ROLLBACK")

    assert set(seen) == {"pg-index-exporter/0badcafe/idx_sender"}
