"""Roles that are let in late, or may not see all: what is not known is absent, and comes with the right."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from exporter.model import Database, Manifest
from exporter.secret import SecretStr
from tests.conftest import TestDatabase
from tests.faults.scraping import Scrape, scrape
from tests.faults.test_database_faults import DECLARED, assert_is_down, assert_is_up, exporter_of, recovered
from tests.postgres.metrics.collecting import described
from tests.support.waiting import wait_for

PASSWORD = "throw-away"
OURS = "FROM pg_stat_activity WHERE datname = %s AND application_name = 'pg-index-exporter'"
CALLS = "pg_stat_statements_calls_total"


@pytest.fixture
def shop(database: TestDatabase) -> TestDatabase:
    """A database with the declared index, and a statement of the superuser's on its table."""
    database.execute("CREATE EXTENSION pg_stat_statements")
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_messages_id ON messages (id)")
    database.execute("SELECT id FROM messages")
    return database


@pytest.fixture
def role(shop: TestDatabase) -> Iterator[str]:
    """A login role without any right of its own."""
    name = f"{shop.name}_role"
    alter(shop, f"CREATE ROLE {{}} LOGIN PASSWORD '{PASSWORD}'", name)
    yield name
    alter(shop, "DROP OWNED BY {}", name)
    alter(shop, "DROP ROLE {}", name)


def alter(database: TestDatabase, statement: str, *names: str) -> None:
    """Runs a statement of the test that holds these names."""
    database.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def exporter_as(shop: TestDatabase, role: str, password: str = PASSWORD) -> Iterator[str]:
    with exporter_of(described(shop, DECLARED, user=role, password=password)) as url:
        yield url


def everything(url: str) -> Scrape:
    """The first scrape in which no collector fails."""

    def look() -> Scrape | None:
        answer = scrape(url)
        return None if answer.failed else answer

    return wait_for("a scrape without a gap", look)


# ------------------------------------------------------------------ passwords


def test_a_wrong_password_that_becomes_the_right_one(shop: TestDatabase, role: str) -> None:
    with exporter_as(shop, role, "new") as url:
        assert_is_down(scrape(url))
        alter(shop, "ALTER ROLE {} PASSWORD 'new'", role)
        assert_is_up(recovered(url))


def test_a_rotated_password_costs_no_scrape_while_the_session_lives(
    shop: TestDatabase, role: str, tmp_path: Path
) -> None:
    address = psycopg.conninfo.conninfo_to_dict(shop.dsn)
    passfile = tmp_path / "passfile"

    def write(password: str) -> None:
        passfile.write_text(f"*:*:*:{role}:{password}\n")
        passfile.chmod(0o600)

    write(PASSWORD)
    conninfo = psycopg.conninfo.make_conninfo(
        host=address["host"], port=address["port"], user=role, passfile=str(passfile)
    )
    manifest = Manifest("m.yaml", "090_test", ("public",), (), (DECLARED,))
    with exporter_of(Database(shop.name, SecretStr(conninfo), (manifest,))) as url:
        assert_is_up(scrape(url))
        alter(shop, "ALTER ROLE {} PASSWORD 'rotated'", role)
        assert_is_up(scrape(url))

        shop.execute(f"SELECT pg_terminate_backend(pid, 10000) {OURS}", [shop.name])
        assert_is_down(scrape(url))

        write("rotated")
        assert_is_up(recovered(url))


# ------------------------------------------------------------------ rights


def test_a_role_that_may_not_connect(shop: TestDatabase, role: str) -> None:
    alter(shop, "REVOKE CONNECT ON DATABASE {} FROM PUBLIC", shop.name)
    with exporter_as(shop, role) as url:
        assert_is_down(scrape(url))
        alter(shop, "GRANT CONNECT ON DATABASE {} TO {}", shop.name, role)
        assert_is_up(recovered(url))


def test_a_session_that_stands_outlives_the_right_to_connect(shop: TestDatabase, role: str) -> None:
    with exporter_as(shop, role) as url:
        assert_is_up(scrape(url))
        alter(shop, "REVOKE CONNECT ON DATABASE {} FROM PUBLIC", shop.name)
        assert_is_up(scrape(url))


@pytest.mark.parametrize(
    ("has", "lacks"),
    [
        ("nothing", "pg_monitor"),
        # All of pg_monitor but this one.
        ("pg_read_all_settings, pg_stat_scan_tables", "pg_read_all_stats"),
    ],
)
def test_a_role_that_may_not_see_what_others_do(shop: TestDatabase, role: str, has: str, lacks: str) -> None:
    if has != "nothing":
        alter(shop, f"GRANT {has} TO {{}}", role)
    with exporter_as(shop, role) as url:
        during = scrape(url)
        alter(shop, f"GRANT {lacks} TO {{}}", role)
        after = everything(url)

    assert_is_up(during)
    assert during.failed == {"statements"}
    assert during.value("pg_stat_user_indexes_idx_scan_total", indexname=DECLARED.name) == 0
    assert during.value("pg_index_size_bytes", indexname=DECLARED.name) is not None
    assert during.value(CALLS, user=shop.server.superuser) is None
    # Making the index names its table too.
    of_superuser = [value for (name, _), value in after.samples.items() if name == CALLS]
    assert of_superuser
    assert all(of_superuser)


def test_a_role_with_one_millisecond_for_a_statement(shop: TestDatabase, role: str) -> None:
    alter(shop, "GRANT pg_monitor TO {}", role)
    alter(shop, "ALTER ROLE {} SET statement_timeout = '1ms'", role)
    with exporter_as(shop, role) as url:
        answers = [scrape(url) for _ in range(3)]

    assert [(answer.target_up, answer.failed) for answer in answers] == [(1, set())] * 3
