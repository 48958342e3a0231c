"""Databases that come and go under a pattern, and what is served while nobody says which there are."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from exporter.metrics.service import ServiceOptions, serving
from exporter.model import Database, DatabasePattern, Manifest, Target
from exporter.secret import SecretStr
from tests.conftest import OwnServer
from tests.faults.scraping import Scrape, scrape
from tests.postgres.metrics.collecting import declare
from tests.support.postgres_server import PostgresServer
from tests.support.waiting import wait_for

MANIFEST = Manifest("m.yaml", "090_test", ("public",), (), (declare("idx_messages_id", "messages"),))
OPTIONS = ServiceOptions(listen_address="127.0.0.1:0")
OURS = "FROM pg_stat_activity WHERE application_name = 'pg-index-exporter'"


@pytest.fixture
def nova(own_server: OwnServer) -> PostgresServer:
    """A server with the databases nova_1 and nova_2, each with the declared index, and other."""
    server = own_server()
    create_database(server, "nova_1")
    create_database(server, "nova_2")
    server.execute("CREATE DATABASE other")
    return server


def create_database(server: PostgresServer, name: str) -> None:
    server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    server.execute("CREATE TABLE messages (id int)", name)
    server.execute("CREATE INDEX idx_messages_id ON messages (id)", name)


def target_of(
    server: PostgresServer,
    *patterns: DatabasePattern,
    names: tuple[str, ...] = (),
    maintenance: str = "postgres",
) -> Target:
    conninfo = SecretStr(server.dsn(maintenance))
    named = tuple(Database(name, conninfo) for name in names)
    return Target("default", named, patterns, Database(maintenance, conninfo))


@contextmanager
def exporter_of(target: Target, options: ServiceOptions = OPTIONS) -> Iterator[str]:
    with serving([target], options) as url:
        yield url


def nova_pattern(*exclude: str) -> DatabasePattern:
    return DatabasePattern("nova_*", exclude, (MANIFEST,))


def databases(answer: Scrape) -> dict[str, float]:
    """Whether each database is up."""
    return {
        dict(labels)["datname"]: value
        for (name, labels), value in answer.samples.items()
        if name == "pg_index_exporter_database_up"
    }


def datnames_of_all_samples(answer: Scrape) -> set[str]:
    return {dict(labels)["datname"] for _, labels in answer.samples if "datname" in dict(labels)}


def connected(server: PostgresServer) -> list[str]:
    return [datname for (datname,) in server.execute(f"SELECT datname {OURS} ORDER BY datname")]


def test_a_new_database_has_its_series_and_a_dropped_one_loses_them(nova: PostgresServer) -> None:
    with exporter_of(target_of(nova, nova_pattern())) as url:
        assert databases(scrape(url)) == {"nova_1": 1, "nova_2": 1}

        create_database(nova, "nova_3")
        grown = scrape(url)
        nova.drop_database("nova_1")
        shrunk = scrape(url)
        wait_for("the connections", lambda: connected(nova) == ["nova_2", "nova_3"] or None)

    assert databases(grown) == {"nova_1": 1, "nova_2": 1, "nova_3": 1}
    assert grown.value("pg_index_present", datname="nova_3") == 1
    assert databases(shrunk) == {"nova_2": 1, "nova_3": 1}
    assert shrunk.target_up == 1
    assert datnames_of_all_samples(shrunk) == {"nova_2", "nova_3", "postgres"}


def test_asking_takes_no_connection_of_its_own_once_there_is_another(nova: PostgresServer) -> None:
    with exporter_of(target_of(nova, nova_pattern())) as url:
        for _ in range(3):
            answer = scrape(url)
        wait_for("the connections", lambda: connected(nova) == ["nova_1", "nova_2"] or None)

    assert answer.value("pg_index_exporter_collector_success", collector="databases") == 1
    assert answer.value("pg_index_exporter_databases_cut") == 0
    wait_for("the end of all connections", lambda: connected(nova) == [] or None)


def test_all_databases_with_one_connection_each(nova: PostgresServer) -> None:
    with exporter_of(target_of(nova, nova_pattern(), DatabasePattern("*", ("other",)))) as url:
        for _ in range(3):
            answer = scrape(url)
        wait_for("the connections", lambda: connected(nova) == ["nova_1", "nova_2", "postgres"] or None)

    assert databases(answer) == {"nova_1": 1, "nova_2": 1, "postgres": 1}
    assert answer.value("pg_index_declared", datname="nova_1") == 1
    assert answer.value("pg_index_declared", datname="postgres") is None


def test_a_database_that_is_made_anew_under_its_name_is_another_one(nova: PostgresServer) -> None:
    nova.execute("CREATE DATABASE origin TEMPLATE nova_1")
    with exporter_of(target_of(nova, nova_pattern())) as url:
        first = scrape(url).value("pg_index_observed_since_timestamp_seconds", datname="nova_1")
        nova.drop_database("nova_1")
        nova.execute("CREATE DATABASE nova_1 TEMPLATE origin")
        answer = scrape(url)

    assert databases(answer) == {"nova_1": 1, "nova_2": 1}
    second = answer.value("pg_index_observed_since_timestamp_seconds", datname="nova_1")
    assert first is not None
    assert second is not None
    assert second > first


def test_no_database_that_matches_is_no_fault(nova: PostgresServer) -> None:
    with exporter_of(target_of(nova, DatabasePattern("absent_*"))) as url:
        answers = [scrape(url) for _ in range(2)]
        nova.execute("CREATE DATABASE absent_no_more")
        answers.append(scrape(url))
        wait_for("the connections", lambda: connected(nova) == ["absent_no_more"] or None)

    assert [answer.target_up for answer in answers] == [1, 1, 1]
    assert [databases(answer) for answer in answers] == [{}, {}, {"absent_no_more": 1}]


def test_more_databases_than_the_limit_are_counted_and_the_oldest_stay(nova: PostgresServer) -> None:
    options = dataclasses.replace(OPTIONS, max_databases=2)
    with exporter_of(target_of(nova, nova_pattern(), names=("other",)), options) as url:
        before = scrape(url)
        create_database(nova, "nova_0")
        after = scrape(url)

    assert databases(before) == databases(after) == {"nova_1": 1, "nova_2": 1, "other": 1}
    assert before.value("pg_index_exporter_databases_cut") == 0
    assert after.value("pg_index_exporter_databases_cut") == 1


def test_a_database_that_refuses_the_role_is_down_and_hides_no_other(nova: PostgresServer) -> None:
    nova.execute("CREATE ROLE visitor LOGIN PASSWORD 'visitor'")
    nova.execute("REVOKE CONNECT ON DATABASE nova_2 FROM PUBLIC")
    conninfo = SecretStr(nova.dsn("postgres", "visitor", "visitor"))
    target = Target("default", (), (nova_pattern(),), Database("postgres", conninfo))
    with exporter_of(target) as url:
        answer = scrape(url)
        nova.execute("GRANT CONNECT ON DATABASE nova_2 TO PUBLIC")
        wait_for("the fix", lambda: databases(scrape(url)) == {"nova_1": 1, "nova_2": 1} or None)

    assert databases(answer) == {"nova_1": 1, "nova_2": 0}
    assert answer.target_up == 0
    assert answer.value("pg_index_declared", datname="nova_2") == 1


def test_while_the_server_is_down_the_databases_known_last_are_meant(nova: PostgresServer) -> None:
    with exporter_of(target_of(nova, nova_pattern())) as url:
        scrape(url)
        nova.stop()
        down = scrape(url)
        nova.start()
        wait_for("the recovery", lambda: scrape(url).target_up or None)
        up = scrape(url)

    assert databases(down) == {"nova_1": 0, "nova_2": 0}
    assert down.target_up == 0
    assert down.value("pg_index_declared", datname="nova_1") == 1
    assert down.value("pg_index_exporter_collector_success", collector="databases") == 0
    assert databases(up) == {"nova_1": 1, "nova_2": 1}


def test_a_server_that_never_answered_is_down_and_found_when_it_comes(nova: PostgresServer) -> None:
    nova.stop()
    with exporter_of(target_of(nova, nova_pattern())) as url:
        down = scrape(url)
        nova.start()
        wait_for("the recovery", lambda: scrape(url).target_up or None)
        up = scrape(url)

    assert (down.status_code, down.target_up, databases(down)) == (200, 0, {})
    assert down.value("pg_index_exporter_collector_success", collector="databases", datname="postgres") == 0
    assert down.value("pg_index_exporter_databases_cut") is None
    assert databases(up) == {"nova_1": 1, "nova_2": 1}


def test_a_server_that_hangs_gives_a_page_in_time(nova: PostgresServer) -> None:
    with exporter_of(target_of(nova, nova_pattern())) as url:
        scrape(url)
        nova.freeze()
        down = scrape(url, patience_seconds=2)
        nova.thaw()
        wait_for("the recovery", lambda: scrape(url).target_up or None)

    assert (down.status_code, down.target_up) == (200, 0)
    assert databases(down) == {"nova_1": 0, "nova_2": 0}


def test_a_locked_catalogue_keeps_the_databases_that_are_known(nova: PostgresServer) -> None:
    with exporter_of(target_of(nova, nova_pattern())) as url:
        scrape(url)
        with psycopg.connect(nova.dsn()) as locking:
            locking.execute("LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE")
            locked = scrape(url)
            locking.rollback()
        free = scrape(url)

    assert databases(locked) == {"nova_1": 1, "nova_2": 1}
    assert locked.target_up == 0
    assert locked.value("pg_index_exporter_collector_success", collector="databases") == 0
    assert locked.value("pg_index_present", datname="nova_1") == 1
    assert free.target_up == 1


def test_the_database_that_is_asked_may_be_gone(nova: PostgresServer) -> None:
    nova.execute("CREATE DATABASE asked")
    with exporter_of(target_of(nova, nova_pattern(), maintenance="asked")) as url:
        scrape(url)
        wait_for("the connections", lambda: connected(nova) == ["nova_1", "nova_2"] or None)
        nova.execute("DROP DATABASE asked")
        answer = scrape(url)

    assert answer.target_up == 1
