"""Many scrapes, impatient scrapes and scrapers that leave: one collection, one connection, an end in time."""

import asyncio
import dataclasses
import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from exporter.metrics.collect.context import CollectOptions, Limit
from exporter.metrics.collect.database import DatabaseCollector
from exporter.metrics.collect.target import TargetCollector
from exporter.metrics.exposition import render
from exporter.metrics.exposition.page import PageFormat
from exporter.metrics.exposition.render import RenderCache
from exporter.metrics.exposition.segment import Segment
from exporter.metrics.service import ServiceOptions, serving
from exporter.metrics.snapshot import DatabaseSnapshot
from exporter.model import Target
from exporter.postgres.builds import progress
from exporter.postgres.target import Connection
from tests.conftest import TestDatabase
from tests.faults.scraping import Scrape, scrape
from tests.postgres.metrics.collecting import (
    collected_within,
    declare,
    described,
    replace_builds_read,
    replace_builds_statement,
)
from tests.support.snapshots import whole
from tests.support.waiting import wait_for

DECLARED = declare("idx_messages_id", "messages")
OPTIONS = ServiceOptions(listen_address="127.0.0.1:0")
OURS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pg-index-exporter'"


@pytest.fixture
def messages(database: TestDatabase) -> TestDatabase:
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_messages_id ON messages (id)")
    return database


@pytest.fixture
def slow_messages(messages: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> TestDatabase:
    """A database in which reading the builds takes until it is cancelled: no short read can be made slow."""
    replace_builds_statement(monkeypatch, "SELECT pg_catalog.pg_sleep(3600)")
    # On a busy machine a server may take long to cancel, and its connection would be cut off.
    monkeypatch.setattr("exporter.metrics.collect.pool.CANCEL_GRACE_SECONDS", 60)
    return messages


def running(database: TestDatabase) -> int:
    ((count,),) = database.execute(f"SELECT count(*) {OURS} AND state = 'active'")
    return int(count)


def scrape_up_to_the_builds(url: str) -> Scrape:
    """A scrape that is cut at its deadline in the slow read, however long the machine takes to come there."""

    def look() -> Scrape | None:
        answer = scrape(url, patience_seconds=next(patience))
        return answer if "tables" not in answer.failed else None

    # The deadline has to be beyond the cancelling, which has a limit too.
    patience = itertools.chain((1, 2, 4), itertools.repeat(8))
    return wait_for("a scrape that came to the slow read", look, timeout_seconds=120)


def test_scrapes_at_once_share_one_collection(messages: TestDatabase) -> None:
    service = TargetCollector(Target("default", (described(messages, DECLARED),)), CollectOptions())

    async def scrapes() -> list[tuple[Segment, ...]]:
        return await asyncio.gather(*(service.body(PageFormat.TEXT, 30) for _ in range(20)))

    bodies = asyncio.run(scrapes())
    service.close()

    assert len({id(body) for body in bodies}) == 1
    assert b"pg_index_exporter_target_up 1\n" in whole(bodies[0])


def test_scrapes_one_after_another_are_collections_of_their_own(messages: TestDatabase) -> None:
    service = TargetCollector(Target("default", (described(messages, DECLARED),)), CollectOptions())

    async def scrapes() -> list[bytes]:
        return [whole(await service.body(PageFormat.TEXT, 30)) for _ in range(2)]

    first, second = asyncio.run(scrapes())
    service.close()

    assert first != second


def test_however_many_scrape_there_is_one_connection(messages: TestDatabase) -> None:
    with (
        serving([Target("default", (described(messages, DECLARED),))], OPTIONS) as url,
        ThreadPoolExecutor(20) as scrapers,
    ):
        answers = list(scrapers.map(scrape, [url] * 60))
        connections = messages.execute(f"SELECT count(*) {OURS}")

    assert {answer.target_up for answer in answers} == {1}
    assert connections == [(1,)]


def test_fifty_scrapes_at_once_are_one_collection(
    messages: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = threading.Semaphore(0)
    collections = []
    body = TargetCollector.body
    reads_builds = progress.read_builds

    async def arriving(
        service: TargetCollector, page_format: PageFormat, seconds: float
    ) -> tuple[Segment, ...]:
        arrived.release()
        return await body(service, page_format, seconds)

    def waiting(connection: Connection) -> list[progress.BuildProgress]:
        for _ in range(50):
            arrived.acquire()
        collections.append(connection.info.backend_pid)
        return reads_builds(connection)

    monkeypatch.setattr(TargetCollector, "body", arriving)
    replace_builds_read(monkeypatch, waiting)
    options = dataclasses.replace(OPTIONS, scrape_timeout_seconds=60)
    with (
        serving([Target("default", (described(messages, DECLARED),))], options) as url,
        ThreadPoolExecutor(50) as scrapers,
    ):
        answers = list(scrapers.map(scrape, [url] * 50))
        connections = messages.execute(f"SELECT pid {OURS}")

    assert len(collections) == 1
    assert connections == [(collections[0],)]
    assert {answer.target_up for answer in answers} == {1}
    durations = {answer.value("pg_index_exporter_scrape_duration_seconds") for answer in answers}
    assert len(durations) == 1


def test_the_page_is_begun_while_the_server_works_for_the_rest(
    messages: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_written = threading.Event()

    def written(snapshot: DatabaseSnapshot, cache: RenderCache) -> None:
        assert snapshot.builds is None
        render.prepare(snapshot, cache)
        is_written.set()

    def waiting(_connection: Connection) -> list[progress.BuildProgress]:
        is_written.wait()
        return []

    monkeypatch.setattr("exporter.metrics.collect.target.prepare", written)
    for room in ("collect.target", "exposition.render"):
        monkeypatch.setattr(f"exporter.metrics.{room}.SEGMENT_LINES", 1)
    replace_builds_read(monkeypatch, waiting)
    options = dataclasses.replace(OPTIONS, scrape_timeout_seconds=60)
    with serving([Target("default", (described(messages, DECLARED),))], options) as url:
        answer = scrape(url)

    assert is_written.is_set()
    assert answer.value("pg_index_exporter_collector_success", collector="builds") == 1
    assert answer.value("pg_stat_user_indexes_idx_scan_total", indexname="idx_messages_id") == 0


def test_at_the_deadline_the_server_cancels_and_the_page_has_what_is_there(
    slow_messages: TestDatabase,
) -> None:
    with serving([Target("default", (described(slow_messages, DECLARED),))], OPTIONS) as url:
        answer = scrape_up_to_the_builds(url)
        wait_for("the end of the slow read", lambda: running(slow_messages) == 0 or None)
        ((backend,),) = slow_messages.execute(f"SELECT pid {OURS}")
        scrape_up_to_the_builds(url)
        ((same_backend,),) = slow_messages.execute(f"SELECT pid {OURS}")

    assert answer.status_code == 200
    assert answer.target_up == 1
    assert answer.value("pg_index_present") == 1
    assert answer.value("pg_stat_user_tables_seq_scan_total") is not None
    success = "pg_index_exporter_collector_success"
    assert answer.value(success, collector="tables") == 1
    assert answer.value(success, collector="builds") == 0
    assert answer.value(success, collector="sizes") == 0
    assert backend == same_backend


@pytest.mark.parametrize(
    ("own_seconds", "patience_seconds", "expected"),
    [(9.5, None, 9.5), (9.5, 10, 9.5), (9.5, 60, 9.5), (9.5, 5, 4.5), (3, 5, 3), (9.5, 0.6, 0.3)],
)
def test_the_deadline_is_the_earlier_one(
    monkeypatch: pytest.MonkeyPatch, own_seconds: float, patience_seconds: float | None, expected: float
) -> None:
    deadlines = []

    async def body(service: TargetCollector, page_format: PageFormat, seconds: float) -> tuple[Segment, ...]:
        deadlines.append(seconds)
        return ()

    monkeypatch.setattr(TargetCollector, "body", body)
    options = dataclasses.replace(OPTIONS, scrape_timeout_seconds=own_seconds)
    with serving([Target("default", ())], options) as url:
        for path in ("/metrics", "/probe?target=default"):
            scrape(url, patience_seconds, path)

    assert deadlines == [pytest.approx(expected)] * 2


def test_the_own_limit_ends_a_collection_too(slow_messages: TestDatabase) -> None:
    """Far from the scraper's: an end of any kind shows it."""
    options = ServiceOptions(listen_address="127.0.0.1:0", scrape_timeout_seconds=0.5)
    with serving([Target("default", (described(slow_messages, DECLARED),))], options) as url:
        answer = scrape(url, patience_seconds=3000)

    assert answer.status_code == 200
    assert answer.value("pg_index_exporter_collector_success", collector="builds") == 0
    assert answer.value("pg_index_declared") == 1


def test_a_scraper_with_less_time_takes_what_is_there(slow_messages: TestDatabase) -> None:
    service = TargetCollector(Target("default", (described(slow_messages, DECLARED),)), CollectOptions())

    async def scrapes() -> tuple[bytes, bytes, bool]:
        patient = asyncio.create_task(service.body(PageFormat.TEXT, 3600))
        await asyncio.to_thread(wait_for, "the slow read", lambda: running(slow_messages) or None)
        hasty = whole(await service.body(PageFormat.TEXT, 0.1))
        was_done = patient.done()
        service.cut()
        return hasty, whole(await patient), was_done

    hasty, patient, was_done = asyncio.run(scrapes())
    service.close()

    assert not was_done
    for body in (hasty, patient):
        assert b"pg_index_exporter_target_up 1\n" in body
        assert b'collector_success{collector="builds"' in body


def test_when_the_scraper_leaves_the_server_cancels(slow_messages: TestDatabase) -> None:
    # No other limit than the scraper's leaving.
    options = dataclasses.replace(OPTIONS, scrape_timeout_seconds=3600)
    with serving([Target("default", (described(slow_messages, DECLARED),))], options) as url:
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port or 0)) as scraper:
            scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n")
            wait_for("the slow read", lambda: running(slow_messages) or None)
        wait_for("its end", lambda: running(slow_messages) == 0 or None)
        ((backend,),) = slow_messages.execute(f"SELECT pid {OURS}")
        # Cancelled, and not cut off: the connection is still good.
        answer = scrape_up_to_the_builds(url)
        assert slow_messages.execute(f"SELECT pid {OURS}") == [(backend,)]

    assert answer.target_up == 1


def test_a_cancel_between_two_statements_is_asked_again(
    messages: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, requests, is_lost = DatabaseCollector.cancel, threading.Semaphore(0), threading.Event()

    def cancelled(collector: DatabaseCollector) -> None:
        cancel(collector)
        requests.release()
        is_lost.set()

    def sleep(connection: Connection) -> list[progress.BuildProgress]:
        # The session is idle until the first request has come and gone.
        is_lost.wait()
        connection.execute("SELECT pg_sleep(3600)")
        return []

    monkeypatch.setattr(DatabaseCollector, "cancel", cancelled)
    replace_builds_read(monkeypatch, sleep)
    monkeypatch.setattr("exporter.metrics.collect.pool.CANCEL_GRACE_SECONDS", 60)
    options = dataclasses.replace(OPTIONS, scrape_timeout_seconds=0.5)
    with serving([Target("default", (described(messages, DECLARED),))], options) as url:
        answer = scrape(url, patience_seconds=3000)
        wait_for("the end of the slow read", lambda: running(messages) == 0 or None)
        assert messages.execute(f"SELECT count(*) {OURS}") == [(1,)]

    assert requests.acquire(blocking=False)
    assert requests.acquire(blocking=False)
    assert answer.value("pg_index_exporter_collector_success", collector="builds") == 0


def test_a_collection_that_was_cut_begins_no_further_statement(messages: TestDatabase) -> None:
    collector, stop = DatabaseCollector(described(messages, DECLARED), CollectOptions()), threading.Event()
    stop.set()

    snapshot = collected_within(collector, 3600, stop)
    collector.close()

    reasons = {outcome.collector: outcome.reason for outcome in snapshot.outcomes}
    assert reasons.pop("server") is None
    assert set(reasons.values()) == {"not reached before the deadline"}


def test_a_scrape_after_one_that_left_gets_a_collection_of_its_own(messages: TestDatabase) -> None:
    async def scrape_after_leaving(service: TargetCollector) -> bytes:
        leaving = asyncio.create_task(service.body(PageFormat.TEXT, 30))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait({leaving})
        return whole(await service.body(PageFormat.TEXT, 30))

    # The first is cancelled at another moment each time, which must never reach the second.
    for _ in range(8):
        service = TargetCollector(Target("default", (described(messages, DECLARED),)), CollectOptions())
        body = asyncio.run(scrape_after_leaving(service))
        service.close()

        assert b'collector_success{collector="sizes"' in body
        assert b"pg_index_exporter_target_up 1\n" in body
        assert b"pg_index_present" in body


def test_closing_in_mid_collection_ends_the_connection(slow_messages: TestDatabase) -> None:
    collector = DatabaseCollector(described(slow_messages, DECLARED), CollectOptions())
    published: list[DatabaseSnapshot] = []
    limit = Limit(time.monotonic() + 3600, threading.Event())
    thread = threading.Thread(target=collector.collect, args=(limit, published.append))
    thread.start()
    wait_for("the counters", lambda: (published and published[-1].tables is not None) or None)
    wait_for("the slow read", lambda: running(slow_messages) or None)
    before = published[-1]

    collector.close()
    thread.join()

    assert before.up
    assert not published[-1].up
    assert not collector.is_connected


def test_a_bug_in_a_collector_is_logged_and_not_a_lost_page(
    messages: TestDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> int:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("exporter.metrics.collect.collectors.builds.running_builds", fail)
    with serving([Target("default", (described(messages, DECLARED),))], OPTIONS) as url:
        answer = scrape(url)

    assert answer.status_code == 200
    assert answer.value("pg_index_declared") == 1
    assert "collecting failed unexpectedly" in caplog.text


def test_silent_clients_do_not_keep_a_scrape_out(messages: TestDatabase) -> None:
    with serving([Target("default", (described(messages, DECLARED),))], OPTIONS) as url:
        address = urlsplit(url)
        silent = [socket.create_connection((address.hostname, address.port or 0)) for _ in range(100)]
        silent[0].sendall(b"GET /metr")
        answer = scrape(url)
        for connection in silent:
            connection.close()

    assert answer.target_up == 1


def test_a_scrape_that_begins_as_its_target_goes_leaves_no_connection(messages: TestDatabase) -> None:
    service = TargetCollector(Target("default", (described(messages, DECLARED),)), CollectOptions())

    async def scrapes() -> bytes:
        await service.body(PageFormat.TEXT, 30)
        # As a reload does between the choice of the target and the first step of its scrape.
        scrape_of_it = service.body(PageFormat.TEXT, 30)
        service.retire()
        body = whole(await scrape_of_it)
        async with asyncio.timeout(30):
            while not service.is_over:
                await asyncio.sleep(0.01)
        return body

    body = asyncio.run(scrapes())

    assert b"pg_index_exporter_target_up 1\n" in body
    wait_for("the disconnect", lambda: messages.execute(f"SELECT count(*) {OURS}") == [(0,)] or None)
