"""What is told of a session beside a build."""

from dataclasses import fields, replace

import pytest

from exporter.postgres.sessions.other_sessions import OtherSession, shown_duration
from tests.support.watched import ALTERING, PREPARED, SESSION


def test_a_session_is_described_without_the_constants_of_its_query() -> None:
    assert SESSION.described == (
        "pid 99, user app, checkout, idle in transaction, transaction open for 12 min 30 s, "
        "UPDATE messages SET content = ? WHERE id = ?"
    )


def test_what_is_unknown_is_left_out() -> None:
    unknown = OtherSession(**dict.fromkeys(one.name for one in fields(OtherSession)))

    assert replace(unknown, pid=99, usename="app").described == "pid 99, user app"
    assert replace(unknown, pid=99).as_detail() == {"pid": 99}
    assert unknown.described == "a prepared transaction"


def test_a_prepared_transaction_is_told_by_its_name() -> None:
    assert PREPARED.described.startswith("prepared transaction 'order 7', user app")


def test_nothing_of_it_moves_the_cursor() -> None:
    odd = replace(SESSION, application_name="a\x1b[2Jb\n", usename="u\tser", query="SELECT\n\t\x1b[1m x")

    assert odd.described.isprintable()


def test_a_long_query_is_cut() -> None:
    assert len(replace(SESSION, query="SELECT " + "x, " * 500).shown_query or "") == 120


def test_the_journal_keeps_what_is_known() -> None:
    assert ALTERING.as_detail() == {
        "pid": 100,
        "usename": "dba",
        "application_name": "psql",
        "backend_type": "client backend",
        "state": "active",
        "mode": "AccessExclusiveLock",
        "transaction_age_seconds": 5.0,
        "waiting_seconds": 5.0,
        "query": "ALTER TABLE messages ADD COLUMN more int",
    }


@pytest.mark.parametrize(
    ("session", "ends_build"),
    [
        (ALTERING, True),
        (replace(ALTERING, mode="ShareUpdateExclusiveLock", query="ANALYZE messages"), True),
        (replace(ALTERING, mode="ShareUpdateExclusiveLock", query="  vacuum (analyze) messages"), False),
        (replace(ALTERING, mode="AccessExclusiveLock", query="VACUUM FULL messages"), True),
        (replace(ALTERING, mode="ShareUpdateExclusiveLock", backend_type="autovacuum worker"), False),
        (replace(ALTERING, has_snapshot=False), False),
        (replace(ALTERING, has_snapshot=None), False),
        (replace(ALTERING, mode="AccessShareLock", query="SELECT 1"), False),
    ],
)
def test_who_will_end_the_build(session: OtherSession, ends_build: bool) -> None:
    assert session.ends_build is ends_build


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (250, "4 min 10 s"),
        (11_100, "3 h 5 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert shown_duration(seconds) == text
