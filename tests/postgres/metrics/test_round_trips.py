"""How many round trips a collection takes, and that what is sent together fails apart."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from exporter.metrics.collect.database import DatabaseCollector
from exporter.metrics.service import ServiceOptions, serving
from exporter.metrics.snapshot import DatabaseSnapshot
from exporter.model import Database, Target
from exporter.secret import SecretStr
from tests.conftest import SharedServers, TestDatabase, own_database
from tests.faults.scraping import scrape
from tests.postgres.metrics.collecting import (
    Watch,
    collect_once,
    collected,
    collector_of,
    declare,
    described,
    failures,
    index_names,
    replace_builds_statement,
    replace_epoch_statement,
)
from tests.postgres.metrics.test_collect import indexdef, write_journal
from tests.support.pooler import pooled
from tests.support.proxy import Proxy, proxy_to
from tests.support.statistics import wait_for_statistics
from tests.support.waiting import wait_for

NAME = "idx_messages_id"
DECLARED = declare(NAME, "messages")
OURS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pg-index-exporter'"
# First the server's facts and all counters; then the journal and the statements, once their place is known.
STEADY_ROUND_TRIPS = 2
MOST_ROUND_TRIPS = 4
# Each takes a round trip more when it is due.
MAY_BE_DUE = ("texts", "sizes", "definitions")
WARM_UP = 4
GROW = "INSERT INTO messages SELECT generate_series(1, 1000)"


@pytest.fixture(scope="module", params=["14", "18"])
def sidecar(request: pytest.FixtureRequest, shared_servers: SharedServers) -> Iterator[TestDatabase]:
    """A sidecar's database with a journal and statements, on the oldest and the newest version."""
    with contextmanager(own_database)(shared_servers(request.param)) as database:
        database.execute("CREATE EXTENSION pg_stat_statements")
        database.execute("CREATE TABLE messages (id int) WITH (autovacuum_enabled = off)")
        database.execute(f"CREATE INDEX {NAME} ON messages (id)")
        database.execute("SELECT count(*) FROM messages WHERE id = 1")
        write_journal(database, indexdef(database, NAME), NAME)
        yield database


def by_way_of(proxy: Proxy, database: TestDatabase, watch: Watch = "declared") -> Database:
    """The database as settings would describe it, behind the proxy."""
    return dataclasses.replace(
        described(database, DECLARED, watch=watch),
        conninfo=proxy.conninfo(database.server.dsn(database.name)),
    )


@pytest.mark.parametrize("watch", ["declared", "all"])
def test_a_collection_takes_two_round_trips_and_some_more_for_what_changed(
    sidecar: TestDatabase, watch: Watch
) -> None:
    with (
        proxy_to(sidecar.server.port) as proxy,
        collector_of(by_way_of(proxy, sidecar, watch)) as collector,
    ):
        for _ in range(WARM_UP):
            collected(collector)
        steady, steady_round_trips = fewest(proxy, collector)
        grow(sidecar)
        # Its text is new.
        collected(collector)
        grow(sidecar)
        grown, _ = fewest(proxy, collector, attempts=1)
        _, grown_round_trips = fewest(proxy, collector, attempts=3, before=lambda: grow(sidecar))

    assert failures(steady) == {}
    assert NAME in index_names(steady)
    assert steady.definition_matches == {DECLARED.relation: True}
    assert steady.statements
    assert steady_round_trips == STEADY_ROUND_TRIPS
    assert failures(grown) == {}
    assert grown.sizes != steady.sizes
    assert STEADY_ROUND_TRIPS < grown_round_trips <= STEADY_ROUND_TRIPS + len(MAY_BE_DUE)


def fewest(
    proxy: Proxy, collector: DatabaseCollector, *, attempts: int = 8, before: Callable[[], None] | None = None
) -> tuple[DatabaseSnapshot, int]:
    """The last snapshot of some collections, and the fewest round trips that one of them took.

    Something may be due in any of them, and a busy machine may send in two parts what is sent together.
    """
    counts: list[int] = []
    for _ in range(attempts):
        if before is not None:
            before()
        began = proxy.round_trips
        snapshot = collected(collector)
        counts.append(proxy.round_trips - began)
        if min(counts) <= STEADY_ROUND_TRIPS:
            break
    return snapshot, min(counts)


def grow(sidecar: TestDatabase) -> None:
    sidecar.execute(GROW)
    wait_for_statistics(sidecar)


def test_a_collector_that_fails_on_the_server_fails_no_other(
    sidecar: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector_of(described(sidecar, DECLARED)) as collector:
        collected(collector)
        collected(collector)
        with monkeypatch.context() as patch:
            replace_builds_statement(patch, "SELECT 1 / 0")
            during = collected(collector)
        connections = sidecar.execute(f"SELECT pid {OURS}")
        after = collected(collector)

        assert sidecar.execute(f"SELECT pid {OURS}") == connections

    assert during.up
    assert failures(during).keys() == {"builds"}
    assert "division by zero" in failures(during)["builds"]
    assert during.builds is None
    assert index_names(during) == [NAME]
    assert during.definition_matches == {DECLARED.relation: True}
    assert failures(after) == {}


def test_a_cancel_at_the_deadline_ends_the_rest_of_what_was_sent(
    sidecar: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine a server may take long to cancel, and its connection would be cut off.
    monkeypatch.setattr("exporter.metrics.collect.pool.CANCEL_GRACE_SECONDS", 60)
    options = ServiceOptions(listen_address="127.0.0.1:0", log_level="error")
    with serving([Target("default", (described(sidecar, DECLARED),))], options) as url:
        assert scrape(url).failed == set()
        connections = sidecar.execute(f"SELECT pid {OURS}")
        with monkeypatch.context() as patch:
            replace_builds_statement(patch, "SELECT pg_catalog.pg_sleep(3600)")
            replace_epoch_statement(patch, "SELECT pg_catalog.pg_sleep(3600)")
            answer = scrape(url, patience_seconds=4)
        wait_for(
            "the end of both",
            lambda: sidecar.execute(f"SELECT pid {OURS} AND state = 'active'") == [] or None,
        )
        after = scrape(url)

        assert sidecar.execute(f"SELECT pid {OURS}") == connections

    assert answer.target_up == 1
    assert {"builds", "epoch", "sizes"} <= answer.failed
    assert "indexes" not in answer.failed
    assert after.failed == set()


def test_a_connection_lost_in_between_leaves_what_came_before(
    sidecar: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector_of(described(sidecar, DECLARED)) as collector:
        collected(collector)
        collected(collector)
        with monkeypatch.context() as patch:
            replace_builds_statement(
                patch, "SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())"
            )
            during = collected(collector)
        after = collected(collector)

    assert not during.up
    assert index_names(during) == [NAME]
    assert failures(during)["locks"] == "the connection was lost"
    assert after.up
    assert failures(after) == {}


def test_without_pipelines_the_page_is_the_same(
    sidecar: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = collect_once(described(sidecar, DECLARED))
    monkeypatch.setattr(psycopg.Pipeline, "is_supported", lambda: False)
    with (
        proxy_to(sidecar.server.port) as proxy,
        collector_of(by_way_of(proxy, sidecar)) as collector,
    ):
        for _ in range(WARM_UP):
            singly = collected(collector)
        before = proxy.round_trips
        collected(collector)
        round_trips = proxy.round_trips - before

    assert failures(singly) == failures(together) == {}
    assert index_names(singly) == index_names(together)
    assert singly.sizes == together.sizes
    assert round_trips > MOST_ROUND_TRIPS


@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
def test_behind_a_pooler_every_read_is_asked_singly_and_none_is_prepared(
    sidecar: TestDatabase, pool_mode: str
) -> None:
    direct = collect_once(described(sidecar, DECLARED))
    with pooled(sidecar.server, sidecar.name, pool_mode) as dsn:
        pooled_database = dataclasses.replace(described(sidecar, DECLARED), conninfo=SecretStr(dsn))
        with collector_of(pooled_database) as collector:
            for _ in range(WARM_UP):
                snapshot = collected(collector)
            pipeline = collector._connection.get()
            prepared = pipeline.connection.execute("SELECT name FROM pg_prepared_statements").fetchall()

            assert not pipeline.is_pipelined

    assert prepared == []
    assert failures(snapshot) == {}
    assert index_names(snapshot) == index_names(direct)
