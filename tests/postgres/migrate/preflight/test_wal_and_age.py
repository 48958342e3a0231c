"""Slots, archive, standbys, and the distance from wraparound."""

from dataclasses import replace

import pytest
from psycopg import sql

from exporter.migrate.options import PreflightOptions
from exporter.model import Finding, Verdict
from tests.conftest import OwnServer, TestDatabase
from tests.postgres.migrate.preflight.looking import OPTIONS, findings_of, only, told
from tests.support.roles import PASSWORD
from tests.support.waiting import wait_for


def test_slots_are_held_against_the_wal_of_the_builds(own_shop: TestDatabase) -> None:
    own_shop.execute("SELECT pg_create_physical_replication_slot('old_standby', true)")
    endless = told(findings_of(own_shop), "WAL retention")
    own_shop.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'")
    own_shop.execute("SELECT pg_reload_conf()")
    wait_for(
        "the limit",
        lambda: True if told(findings_of(own_shop), "WAL retention") != endless else None,
    )

    assert endless == {"slot old_standby": (Verdict.WARN, "slot_inactive")}
    assert told(findings_of(own_shop), "WAL retention") == {"the server": (Verdict.PASS, "ok")}


@pytest.mark.parametrize("own_shop", [{"max_slot_wal_keep_size": "16MB"}], indirect=True)
def test_a_slot_that_fell_behind_its_limit_is_refused_until_it_is_lost(own_shop: TestDatabase) -> None:
    own_shop.execute("SELECT pg_create_physical_replication_slot('old_standby', true)")
    assert told(findings_of(own_shop), "WAL retention") == {"the server": (Verdict.PASS, "ok")}
    for number in range(4):
        own_shop.execute(sql.SQL("INSERT INTO messages VALUES ({}, 0)").format(number))
        own_shop.execute("SELECT pg_switch_wal()")
    behind = told(findings_of(own_shop), "WAL retention")
    own_shop.execute("CHECKPOINT")
    lost = told(findings_of(own_shop), "WAL retention")

    assert behind == {"slot old_standby": (Verdict.FAIL, "slot_unreserved")}
    assert lost == {"slot old_standby": (Verdict.WARN, "slot_lost")}


@pytest.mark.parametrize("own_shop", [{"archive_mode": "on", "archive_command": "false"}], indirect=True)
def test_an_archive_that_refuses_is_told(own_shop: TestDatabase) -> None:
    assert only(findings_of(own_shop), "archiving").reason in ("never_archived", "archive_failing")
    own_shop.execute("SELECT pg_switch_wal()")

    def failing() -> bool | None:
        return True if only(findings_of(own_shop), "archiving").verdict is Verdict.FAIL else None

    wait_for("the archiver's failure", failing)


def test_a_standby_that_falls_behind_is_told(own_shop: TestDatabase, own_standby: OwnServer) -> None:
    standby = own_standby(own_shop.server)

    def streams() -> bool | None:
        return True if "1 standby" in only(findings_of(own_shop), "replica lag").found else None

    wait_for("the standby", streams)
    own_shop.execute(sql.SQL("CREATE ROLE stranger LOGIN PASSWORD {}").format(PASSWORD))
    hidden = told(findings_of(own_shop, user="stranger"), "replica lag")
    assert list(hidden.values()) == [(Verdict.UNKNOWN, "not_permitted")]
    standby.execute("SELECT pg_wal_replay_pause()")
    own_shop.execute("INSERT INTO messages SELECT g, g FROM generate_series(1, 10000) g")
    strict = replace(OPTIONS, warn_lag_bytes=1000, max_lag_bytes=10**12)

    def behind(options: PreflightOptions) -> Finding | None:
        found = [one for one in findings_of(own_shop, options=options) if one.criterion == "replica lag"]
        return found[0] if found[0].verdict is not Verdict.PASS else None

    assert wait_for("the lag", lambda: behind(strict)).reason == "behind"
    assert wait_for("the lag", lambda: behind(replace(strict, max_lag_bytes=1000))).reason == "far_behind"


def consume_transactions(database: TestDatabase, number: int) -> None:
    """Has that many transactions pass, each a part of one."""
    with database.connect() as connection:
        connection.execute("CREATE TEMP TABLE consumed (i int)")
        connection.execute(
            sql.SQL(
                "DO $$ BEGIN FOR i IN 1..{} LOOP BEGIN INSERT INTO consumed VALUES (i); "
                "EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$"
            ).format(number)
        )


@pytest.mark.parametrize(
    "own_shop",
    [{"autovacuum": "off", "autovacuum_freeze_max_age": "100000", "vacuum_failsafe_age": "0"}],
    indirect=True,
)
def test_the_age_of_table_and_database_is_told(own_shop: TestDatabase) -> None:
    assert {verdict for verdict, _ in told(findings_of(own_shop), "wraparound").values()} == {Verdict.PASS}
    consume_transactions(own_shop, 70000)

    assert told(findings_of(own_shop), "wraparound") == {
        "the database": (Verdict.WARN, "near_failsafe"),
        "public.messages": (Verdict.WARN, "vacuum_due"),
    }
    consume_transactions(own_shop, 40000)
    assert told(findings_of(own_shop), "wraparound")["the database"] == (Verdict.FAIL, "failsafe_reached")
