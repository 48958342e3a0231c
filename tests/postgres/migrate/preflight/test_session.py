"""The session, its role, and what it may do."""

from contextlib import closing
from dataclasses import replace

import pytest
from psycopg import sql

from exporter.migrate.preflight import check_before_build
from exporter.model import Database, Verdict
from exporter.postgres.target import connect
from exporter.secret import SecretStr
from tests.conftest import TestDatabase
from tests.postgres.migrate.preflight.looking import INDEX, OPTIONS, only, told
from tests.support.builds import as_declared, session
from tests.support.declared import declare, manifest_of
from tests.support.pooler import pooled
from tests.support.roles import PASSWORD


@pytest.mark.oldest_too
@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
def test_a_pooler_is_refused(shop: TestDatabase, pool_mode: str) -> None:
    with pooled(shop.server, shop.name, pool_mode) as dsn:
        declared = Database(shop.name, SecretStr(dsn))
        with closing(connect(declared, read_only=False)) as connection:
            findings = check_before_build(connection, manifest_of(INDEX))

    assert told(findings, "direct connection") == {"the server": (Verdict.FAIL, "pooler")}


@pytest.mark.oldest_too
def test_a_default_that_is_read_only_for_everybody_is_refused(shop: TestDatabase) -> None:
    alter = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
    with shop.connect() as connection:
        connection.execute(alter.format(sql.Identifier(shop.name)))
    with session(shop) as connection:
        findings = check_before_build(connection, manifest_of(INDEX))

    assert told(findings, "writable") == {"the server": (Verdict.FAIL, "read_only_default")}


def test_a_policy_against_blockers_needs_the_right_to_cancel(shop: TestDatabase, stranger: str) -> None:
    found = {}
    for needs_signal in (False, True):
        options = replace(OPTIONS, needs_signal=needs_signal)
        with closing(connect(as_declared(shop, stranger, PASSWORD), read_only=False)) as connection:
            findings = check_before_build(connection, manifest_of(INDEX), options)
        found[needs_signal] = only(findings, "may cancel sessions")

    assert found[False].verdict is Verdict.PASS
    assert (found[True].verdict, found[True].reason) == (Verdict.FAIL, "not_permitted")
    assert f"GRANT pg_signal_backend TO {stranger}" in (found[True].hint or "")


def test_a_tablespace_needs_a_privilege_and_has_to_be_there(
    shop: TestDatabase, tablespace: str, stranger: str
) -> None:
    indexes = (
        declare("i1", "messages", "id", tablespace=tablespace),
        declare("i2", "messages", "id", tablespace="absent"),
    )
    with closing(connect(as_declared(shop, stranger, PASSWORD), read_only=False)) as connection:
        findings = check_before_build(connection, manifest_of(*indexes))

    assert told(findings, "create in tablespace") == {
        "public.i1": (Verdict.FAIL, "no_create"),
        "public.i2": (Verdict.FAIL, "no_tablespace"),
    }


@pytest.mark.pg(">= 15")
def test_who_may_create_in_the_tablespace_passes(shop: TestDatabase, tablespace: str) -> None:
    with session(shop) as connection:
        findings = check_before_build(
            connection, manifest_of(declare("i1", "messages", tablespace=tablespace))
        )

    assert told(findings, "create in tablespace") == {"public.i1": (Verdict.PASS, "ok")}


def test_the_owner_of_the_whole_must_own_the_partitions(shop: TestDatabase, stranger: str) -> None:
    for statement in (
        "CREATE TABLE events (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10)",
        "GRANT CREATE ON SCHEMA public TO {}",
        "ALTER TABLE ONLY events OWNER TO {}",
    ):
        shop.execute(sql.SQL(statement).format(sql.Identifier(stranger)))
    with closing(connect(as_declared(shop, stranger, PASSWORD), read_only=False)) as connection:
        findings = check_before_build(connection, manifest_of(declare("i", "events"), analyze=()))

    assert told(findings, "ownership") == {
        "public.events": (Verdict.PASS, "ok"),
        "public.events_1": (Verdict.FAIL, "not_owner"),
    }
