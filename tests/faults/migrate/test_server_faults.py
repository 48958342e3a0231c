"""Servers, sessions and networks that go away in mid-build: the run goes on, or the next one does."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import psycopg
import pytest

from exporter.errors import ExporterError
from exporter.model import Database, StepKind, StepResult, StepStatus
from tests.conftest import OwnServer, TestDatabase
from tests.postgres.migrate.running import QUICK, Beside, Run, statuses
from tests.support.builds import executing, indexes_of, waiting_build, writer
from tests.support.declared import declare, manifest_of
from tests.support.postgres_server import LocalServer
from tests.support.proxy import proxy_to
from tests.support.waiting import wait_for

SENDER = declare("idx_sender", "messages", "sender_id", "created_at DESC", where="deleted_at IS NULL")
POST = declare("idx_post", "posts", "sender_id")
ONE = manifest_of(SENDER)
BOTH = manifest_of(SENDER, POST)
BUILT = {"idx_sender": True}
PATIENT = replace(QUICK, reconnect_budget_seconds=60, retry_base_seconds=0.1, lock_budget_seconds=30)
IMPATIENT = replace(QUICK, reconnect_budget_seconds=0.5, retry_base_seconds=0.1)


@contextmanager
def doomed_writer(database: TestDatabase) -> Iterator[None]:
    """A writer whose session the fault ends as well."""
    with suppress(psycopg.OperationalError), writer(database):
        yield


def succeeded(results: tuple[StepResult, ...]) -> bool:
    return {result.status for result in results} <= {StepStatus.DONE}


def test_a_backend_that_is_killed_is_survived(shop: TestDatabase) -> None:
    run = Run(shop, ONE, options=PATIENT)
    with doomed_writer(shop), Beside(run.init) as beside:
        os.kill(waiting_build(shop), signal.SIGKILL)
        results = beside.results()

    assert statuses(results) == [
        (StepKind.BUILD, "idx_sender", StepStatus.DONE),
        (StepKind.ANALYZE, "messages", StepStatus.DONE),
    ]
    assert results[0].attempts == 2
    assert indexes_of(shop) == BUILT


def test_a_server_that_is_stopped_at_once_and_comes_back_is_survived(shop: TestDatabase) -> None:
    run = Run(shop, ONE, options=PATIENT)
    with doomed_writer(shop), Beside(run.init) as beside:
        waiting_build(shop)
        shop.server.stop("immediate")
        shop.server.start()
        results = beside.results()

    assert succeeded(results)
    assert indexes_of(shop) == BUILT


def test_a_server_that_stays_away_halts_the_run_and_the_next_finishes(shop: TestDatabase) -> None:
    run = Run(shop, ONE, options=IMPATIENT)
    with doomed_writer(shop), Beside(run.init) as beside:
        waiting_build(shop)
        shop.server.stop("immediate")
        results = beside.results()
    assert [result.status for result in results] == [StepStatus.HALTED, StepStatus.SKIPPED]
    assert "cannot be reached" in (results[0].message or "")

    shop.server.start()
    assert indexes_of(shop) == {"idx_sender": False}
    assert succeeded(Run(shop, ONE, options=PATIENT).init())
    assert indexes_of(shop) == BUILT


def test_a_lost_network_leaves_the_build_to_be_followed_by_the_same_run(shop: TestDatabase) -> None:
    with proxy_to(shop.server.port) as proxy:
        through = Database(shop.name, proxy.conninfo(shop.dsn))
        run = Run(shop, ONE, options=PATIENT, declared=through)
        with writer(shop) as open_transaction, Beside(run.init) as beside:
            pid = waiting_build(shop)
            proxy.cut_all()
            run.wait_for("the following", lambda event: f"following the build by pid {pid}" in event.text)
            open_transaction.execute("ROLLBACK")
            results = beside.results()

    assert succeeded(results)
    assert results[0].attempts == 1
    assert indexes_of(shop) == BUILT


@pytest.mark.parametrize("seed", range(6))
def test_a_network_that_breaks_at_any_question_is_survived(shop: TestDatabase, seed: int) -> None:
    _break_the_network(shop, random.Random(seed).randrange(120))


@pytest.mark.long
@pytest.mark.parametrize("question", range(0, 160, 2))
def test_a_network_that_breaks_at_each_question_is_survived(shop: TestDatabase, question: int) -> None:
    _break_the_network(shop, question)


def _break_the_network(shop: TestDatabase, question: int) -> None:
    with proxy_to(shop.server.port) as proxy:
        through = Database(shop.name, proxy.conninfo(shop.dsn))
        proxy.cut_after(question)
        # Before the first step nothing is begun, and the error is the user's to see.
        with suppress(psycopg.Error, ExporterError):
            Run(shop, BOTH, options=PATIENT, declared=through).init()
        proxy.cut_all()
    # A statement that was cut off goes on in the server, or ends at once.
    assert succeeded(Run(shop, BOTH, options=PATIENT).init())

    assert indexes_of(shop) == {"idx_sender": True, "idx_post": True}


def test_another_system_is_never_built_on(shop: TestDatabase, own_server: OwnServer) -> None:
    other = own_server(another_system=True)
    assert isinstance(other, LocalServer)
    other.execute(f"CREATE DATABASE {shop.name}")
    other.execute("CREATE ROLE builder SUPERUSER LOGIN PASSWORD 'throw-away'")
    shop.execute("CREATE ROLE builder SUPERUSER LOGIN PASSWORD 'throw-away'")
    with proxy_to(shop.server.port) as proxy:
        dsn = proxy.conninfo(shop.server.dsn(shop.name, "builder", "throw-away"))
        run = Run(shop, ONE, options=PATIENT, declared=Database(shop.name, dsn))
        with writer(shop) as open_transaction, Beside(run.init) as beside:
            waiting_build(shop)
            proxy.upstream_port = other.port
            proxy.cut_all()
            results = beside.results()
            open_transaction.execute("ROLLBACK")

    assert results[0].status is StepStatus.HALTED
    assert "another system answers" in (results[0].message or "")
    wait_for("the build's end in the server", lambda: indexes_of(shop).get("idx_sender") or None)
    assert succeeded(Run(shop, ONE, options=PATIENT).init())
    shop.execute("DROP OWNED BY builder")
    shop.execute("DROP ROLE builder")


def test_a_standby_is_never_built_on(shop: TestDatabase, own_standby: OwnServer) -> None:
    standby = own_standby(shop.server)
    with proxy_to(shop.server.port) as proxy:
        through = Database(shop.name, proxy.conninfo(shop.dsn))
        run = Run(shop, ONE, options=IMPATIENT, declared=through)
        with writer(shop) as open_transaction, Beside(run.init) as beside:
            waiting_build(shop)
            proxy.upstream_port = standby.port
            proxy.cut_all()
            results = beside.results()
            open_transaction.execute("ROLLBACK")

    assert results[0].status is StepStatus.HALTED
    assert "a standby answers where the primary was" in (results[0].message or "")


def test_a_drop_of_a_dead_runs_cleanup_is_followed_and_the_index_built(shop: TestDatabase) -> None:
    run = Run(shop, ONE, options=PATIENT)
    with doomed_writer(shop), Beside(run.init) as beside:
        waiting_build(shop)
        shop.server.stop("immediate")
        shop.server.start()
        beside.results()
    shop.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_sender'::regclass")
    dsn = psycopg.conninfo.make_conninfo(shop.dsn, application_name="pg-index-exporter-cleanup/deadbeef")
    again = Run(shop, ONE, options=PATIENT)
    with shop.connect() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages")
        with executing(dsn, "DROP INDEX CONCURRENTLY idx_sender") as pid:
            wait_for(
                "the drop",
                lambda: (
                    shop.execute(
                        "SELECT true FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'", [pid]
                    )
                    or None
                ),
            )
            with Beside(again.init) as following:
                again.wait_for("the following", lambda event: f"pid {pid}" in event.text)
                reader.execute("ROLLBACK")
                results = following.results()

    assert succeeded(results)
    assert indexes_of(shop) == BUILT
