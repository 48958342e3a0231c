"""INVALID indexes whose table somebody holds: set aside under another name, and dropped later."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from exporter.migrate.events import EventKind
from exporter.migrate.execute.steps.leftovers import leftover_name
from exporter.migrate.options import BlockerPolicy, Patterns
from exporter.model import StepKind, StepResult, StepStatus
from tests.conftest import TestDatabase
from tests.postgres.migrate.execute.test_executor import log_of
from tests.postgres.migrate.execute.test_watch import (
    AT_ONCE,
    WRITING,
    in_transaction,
    is_alive,
    wait_for_note,
)
from tests.postgres.migrate.running import QUICK, Beside, Run, statuses
from tests.support.builds import indexes_of, reader, waiting_build, writer
from tests.support.declared import declare, manifest_of

SENDER = declare("idx_sender", "messages", "sender_id")
ONE = manifest_of(SENDER)
ASIDE = "idx_sender_invalid_0badcafe"
IMPATIENT = replace(QUICK, deadline_seconds=1, cleanup_budget_seconds=0.5, retry_base_seconds=0.1)


@pytest.fixture
def set_aside(shop: TestDatabase) -> tuple[StepResult, ...]:
    """The results of a run whose build was given up while a writer held the table; it is gone now."""
    with writer(shop):
        return Run(shop, ONE, IMPATIENT).init()


@contextmanager
def at(database: TestDatabase, run_id: str) -> Iterator[Run]:
    """Another run, by its name."""
    yield Run(database, ONE, replace(IMPATIENT, deadline_seconds=60), run_id=run_id)


def test_it_is_set_aside_with_who_holds_the_table(
    shop: TestDatabase, set_aside: tuple[StepResult, ...]
) -> None:
    (build, _) = set_aside

    assert build.status is StepStatus.LEFT_BEHIND
    assert build.sqlstate == "57014"
    assert f"public.idx_sender could not be dropped and is called public.{ASIDE} now" in (build.message or "")
    assert f'DROP INDEX CONCURRENTLY "public"."{ASIDE}"' in (build.hint or "")
    assert indexes_of(shop) == {ASIDE: False}
    # The name is free: whatever bears it later is not ours.
    assert log_of(shop)["idx_sender"] == ("building", "failed")
    assert log_of(shop)[ASIDE] == ("cleanup", "left_behind")
    [(message,)] = shop.execute(
        "SELECT detail ->> 'message' FROM migration_log WHERE index_name = %s", [ASIDE]
    )
    assert message.startswith("the table is held by pid ")
    assert "a writer, idle in transaction" in message


def test_the_next_run_drops_it_and_builds(shop: TestDatabase, set_aside: tuple[StepResult, ...]) -> None:
    with at(shop, "feedface") as run:
        results = run.init()

    assert statuses(results) == [
        (StepKind.DROP_LEFTOVER, ASIDE, StepStatus.DONE),
        (StepKind.BUILD, "idx_sender", StepStatus.DONE),
        (StepKind.ANALYZE, "messages", StepStatus.DONE),
    ]
    assert indexes_of(shop) == {"idx_sender": True}
    assert log_of(shop)[ASIDE] == ("cleanup", "done")
    with at(shop, "0ddba115") as run:
        assert run.init() == ()


def test_a_rollback_drops_it(shop: TestDatabase, set_aside: tuple[StepResult, ...]) -> None:
    with at(shop, "feedface") as run:
        results = run.rollback()

    assert statuses(results) == [(StepKind.DROP_LEFTOVER, ASIDE, StepStatus.DONE)]
    assert indexes_of(shop) == {}


def test_the_index_is_built_although_it_cannot_be_dropped_yet(
    shop: TestDatabase, set_aside: tuple[StepResult, ...]
) -> None:
    # A build does not wait for readers, a drop does.
    with reader(shop), at(shop, "feedface") as run:
        results = run.init()

    assert statuses(results) == [
        (StepKind.DROP_LEFTOVER, ASIDE, StepStatus.LEFT_BEHIND),
        (StepKind.BUILD, "idx_sender", StepStatus.DONE),
        (StepKind.ANALYZE, "messages", StepStatus.DONE),
    ]
    assert "a reader, idle in transaction" in (results[0].message or "")
    assert indexes_of(shop) == {"idx_sender": True, ASIDE: False}


def test_the_same_run_tries_again_and_drops_it_in_the_end(shop: TestDatabase) -> None:
    run = Run(shop, ONE, replace(IMPATIENT, deadline_seconds=60))
    with writer(shop) as open_transaction, Beside(run.init) as beside:
        shop.execute("SELECT pg_terminate_backend(%s)", [waiting_build(shop)])
        note = wait_for_note(run, ASIDE)
        waiting_build(shop)
        open_transaction.execute("ROLLBACK")
        (build, _) = beside.results()

    assert "held by pid" in note
    assert (build.status, build.attempts) == (StepStatus.DONE, 2)
    assert indexes_of(shop) == {"idx_sender": True}
    assert log_of(shop)[ASIDE] == ("cleanup", "done")


def test_a_name_that_is_taken_is_not_used(shop: TestDatabase) -> None:
    shop.execute(f"CREATE TABLE {ASIDE} ()")
    with writer(shop):
        Run(shop, ONE, IMPATIENT).init()

    assert indexes_of(shop) == {f"{ASIDE}_2": False}


def test_one_that_somebody_made_valid_stays(shop: TestDatabase, set_aside: tuple[StepResult, ...]) -> None:
    shop.execute(f"REINDEX INDEX {ASIDE}")
    with at(shop, "feedface") as run:
        results = run.init()

    assert StepKind.DROP_LEFTOVER not in {result.step.kind for result in results}
    assert indexes_of(shop)[ASIDE]


def test_who_holds_the_cleaning_up_is_ended_where_the_policy_says_so(shop: TestDatabase) -> None:
    watch = replace(
        AT_ONCE,
        writers_budget_seconds=0.5,
        on_blocker=BlockerPolicy.TERMINATE,
        blocker_limit_seconds=2.0,
        patterns=Patterns(applications=("checkout",)),
    )
    run = Run(shop, ONE, replace(QUICK, watch=watch))
    with in_transaction(shop, "checkout", WRITING) as blocker:
        (build, _) = run.init()
        assert not is_alive(shop, blocker.info.backend_pid)

    assert build.status is StepStatus.FAILED
    assert (build.message or "").startswith("abandoned: ")
    assert indexes_of(shop) == {}
    looks = [
        event.observation.phase
        for event in run.events
        if event.kind is EventKind.PROGRESS and event.observation
    ]
    assert "waiting for sessions" in " ".join(filter(None, looks))


def test_the_name_fits() -> None:
    name = leftover_name("ä" * 31, "0badcafe", 2)

    assert len(name.encode()) <= 63
    assert name == "ä" * 22 + "_invalid_0badcafe_2"
