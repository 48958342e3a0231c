"""What different roles get to see: everything as monitor, honest gaps as nobody."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from exporter.metrics.snapshot import DatabaseSnapshot
from tests.conftest import TestDatabase
from tests.postgres.metrics.collecting import (
    collect_once,
    declare,
    described,
    failures,
    index_rows,
)
from tests.postgres.metrics.test_collect import indexdef, write_journal

DECLARED = declare("idx_messages_id", "messages")
PASSWORD = "throw-away"


@pytest.fixture
def shop(database: TestDatabase) -> TestDatabase:
    database.execute("CREATE EXTENSION pg_stat_statements")
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_messages_id ON messages (id)")
    write_journal(database, indexdef(database, "idx_messages_id"), "idx_messages_id")
    database.execute("SELECT count(*) FROM messages")
    return database


@pytest.fixture
def role(shop: TestDatabase) -> Iterator[str]:
    """A login role without any right of its own."""
    name = f"{shop.name}_role"
    shop.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), PASSWORD))
    yield name
    shop.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    shop.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def seen_by(database: TestDatabase, role: str, password: str = PASSWORD) -> DatabaseSnapshot:
    return collect_once(described(database, DECLARED, user=role, password=password))


def test_the_monitor_role_sees_what_a_superuser_sees(shop: TestDatabase, role: str) -> None:
    shop.execute(sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(role)))
    shop.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(sql.Identifier(role)))
    # As deploy/sql/monitor.sql has it: its own reads add nothing to what it reads.
    for setting in ("track_counts = off", "pg_stat_statements.track = none"):
        shop.execute(sql.SQL(f"ALTER ROLE {{}} SET {setting}").format(sql.Identifier(role)))

    as_monitor = seen_by(shop, role)
    as_superuser = collect_once(described(shop, DECLARED))

    assert failures(as_monitor) == {}
    assert as_monitor.indexes == as_superuser.indexes
    assert as_monitor.tables == as_superuser.tables
    assert as_monitor.sizes == as_superuser.sizes
    assert as_monitor.definition_matches == {DECLARED.relation: True}
    assert set(as_monitor.query_texts.values()) == {"SELECT count(*) FROM messages"}
    assert as_monitor.query_texts == as_superuser.query_texts


def test_a_role_with_nothing_sees_counters_and_is_told_what_it_lacks(shop: TestDatabase, role: str) -> None:
    snapshot = seen_by(shop, role)

    assert snapshot.up
    assert set(failures(snapshot)) == {"journal", "statements"}
    assert failures(snapshot)["journal"] == "no SELECT on public.migration_events"
    assert [row.indexname for row in index_rows(snapshot)] == ["idx_messages_id"]
    assert len(snapshot.sizes) == 2
    assert snapshot.statements == ()
    assert snapshot.definition_matches == {}


def test_a_role_that_may_not_connect_finds_the_database_down(shop: TestDatabase, role: str) -> None:
    shop.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(shop.name)))

    snapshot = seen_by(shop, role)

    assert not snapshot.up
    assert all("permission denied for database" in reason for reason in failures(snapshot).values())


def test_a_wrong_password_is_a_database_that_is_down_and_not_in_the_reason(
    shop: TestDatabase, role: str
) -> None:
    snapshot = seen_by(shop, role, password="canary-hunter2")

    assert not snapshot.up
    assert "password authentication failed" in failures(snapshot)["server"]
    assert "canary" not in repr(snapshot)


def test_an_identity_that_may_not_be_read_is_a_gap(shop: TestDatabase, role: str) -> None:
    shop.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")

    snapshot = seen_by(shop, role)

    assert snapshot.up
    assert "permission denied" in failures(snapshot)["server"]
    assert snapshot.facts is None
    assert len(index_rows(snapshot)) == 1


def test_a_hostile_schema_changes_nothing(shop: TestDatabase, role: str) -> None:
    honest = collect_once(described(shop, DECLARED))
    for statement in (
        "CREATE FUNCTION public.pg_stat_get_numscans(oid) RETURNS bigint LANGUAGE sql AS 'SELECT 42::bigint'",
        "CREATE FUNCTION public.pg_relation_size(oid) RETURNS bigint LANGUAGE sql AS 'SELECT 42::bigint'",
        "CREATE VIEW public.pg_locks AS SELECT 1 AS relation",
        "CREATE VIEW public.pg_class AS SELECT 1 AS oid",
        "CREATE FUNCTION public.never(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
        "CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.never)",
        f"ALTER DATABASE {shop.name} SET search_path = public, pg_catalog",
    ):
        shop.execute(statement)

    snapshot = collect_once(described(shop, DECLARED))

    assert failures(snapshot) == {}
    assert snapshot.indexes == honest.indexes
    assert snapshot.tables == honest.tables
    assert snapshot.sizes == honest.sizes
