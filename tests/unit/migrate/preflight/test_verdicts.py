"""Every verdict of the checks that judge facts alone, those that no server shows at will among them."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from exporter.migrate.options import PreflightOptions
from exporter.migrate.preflight.activity import check_blockers, check_running_backups
from exporter.migrate.preflight.declarations import check_declarations, not_compiled
from exporter.migrate.preflight.limits import check_duration, check_temporary_files
from exporter.migrate.preflight.replication import check_archiving, check_lag, check_slots
from exporter.migrate.preflight.session import check_session
from exporter.migrate.preflight.tables import check_built_on, check_table_age, check_wraparound
from exporter.model import Finding, IndexEstimate, IndexState, ObservedIndex, Verdict
from exporter.postgres.relations.tables import TableFacts
from exporter.postgres.server.replication import ArchiverFacts, ReplicationLag, ReplicationSlot, RunningBackup
from exporter.postgres.server.session_facts import SessionFacts
from exporter.postgres.server.storage import StorageFacts, TableAge, WraparoundFacts
from exporter.postgres.sessions.blockers import Blocker
from tests.support.declared import declare, manifest_of, relation

PASS, WARN, FAIL, UNKNOWN = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.UNKNOWN
SESSION = SessionFacts(
    server_version_num=180006,
    in_recovery=False,
    read_only=False,
    read_only_default=False,
    read_only_of_role=False,
    may_create_temporary=True,
    may_read_all_stats=True,
    may_signal_backend=True,
    may_set_deadlock_timeout=True,
    track_counts=True,
    backend_pid=1,
    usename="builder",
)


def judged(findings: Iterable[Finding], criterion: str) -> tuple[Verdict, str]:
    """Verdict and reason of the only finding of that check; every finding but a pass says what to do."""
    listed = list(findings)
    assert all(one.hint for one in listed if one.verdict is not PASS)
    ((verdict, reason),) = [(one.verdict, one.reason) for one in listed if one.criterion == criterion]
    return verdict, reason


# ------------------------------------------------------------------ the session


def test_a_session_that_lacks_nothing_passes_each_check() -> None:
    found = list(check_session(SESSION, None, "nova", needs_signal=True))

    assert {one.verdict for one in found} == {PASS}
    assert {one.criterion for one in found} == {
        *("version", "primary", "role", "writable", "direct connection", "temporary tables"),
        *("statistics collector", "sees other sessions", "may cancel sessions", "may outwait deadlocks"),
    }
    assert judged(check_session(SESSION, "why", "nova", needs_signal=True), "direct connection") == (
        FAIL,
        "pooler",
    )


def test_the_monitor_role_is_sent_to_the_builders_connection_and_to_nothing_else() -> None:
    monitor = replace(
        SESSION,
        read_only_default=True,
        read_only_of_role=True,
        track_counts=False,
        may_create_temporary=False,
        may_signal_backend=False,
        usename="index_monitor",
    )

    wanting = [
        one for one in check_session(monitor, None, "nova", needs_signal=True) if one.verdict is not PASS
    ]

    assert [(one.criterion, one.verdict, one.reason) for one in wanting] == [("role", FAIL, "monitor_role")]
    assert "builder's connection" in (wanting[0].hint or "")


@pytest.mark.parametrize(
    ("owner_is_superuser", "hint"),
    [(False, "GRANT shop_owner TO builder"), (True, "ALTER TABLE public.messages OWNER TO builder")],
)
def test_membership_in_a_superuser_is_never_advised(owner_is_superuser: bool, hint: str) -> None:
    facts = TableFacts(1, "r", 0.0, 0, False, "shop_owner", owner_is_superuser, True, True, None)

    found = list(check_built_on(relation("messages"), facts, "builder"))

    assert judged(found, "ownership") == (FAIL, "not_owner")
    assert [one.hint for one in found if one.hint] == [hint]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (140000, (FAIL, "corrupting_version")),
        (140003, (FAIL, "corrupting_version")),
        (140004, (PASS, "ok")),
        (150000, (PASS, "ok")),
        (180099, (PASS, "ok")),
        (190000, (WARN, "untried_version")),
        (200001, (WARN, "untried_version")),
    ],
)
def test_versions(version: int, expected: tuple[Verdict, str]) -> None:
    session = replace(SESSION, server_version_num=version)

    assert judged(check_session(session, None, "nova", needs_signal=False), "version") == expected


@pytest.mark.parametrize(
    ("facts", "criterion", "expected"),
    [
        ({}, "primary", (PASS, "ok")),
        ({"in_recovery": True}, "primary", (FAIL, "standby")),
        ({"in_recovery": True, "read_only": True}, "writable", (PASS, "ok")),
        ({}, "writable", (PASS, "ok")),
        ({"read_only": True}, "writable", (FAIL, "read_only")),
        ({"read_only_default": True}, "writable", (FAIL, "read_only_default")),
        ({"read_only_default": True, "read_only_of_role": True}, "writable", (WARN, "read_only_role")),
        ({"may_create_temporary": False}, "temporary tables", (FAIL, "no_temporary_tables")),
        ({"track_counts": False}, "statistics collector", (FAIL, "track_counts_off")),
        ({"may_read_all_stats": False}, "sees other sessions", (UNKNOWN, "not_permitted")),
        ({"may_signal_backend": False}, "may cancel sessions", (FAIL, "not_permitted")),
        ({"may_set_deadlock_timeout": False}, "may outwait deadlocks", (WARN, "not_permitted")),
        (
            {"may_set_deadlock_timeout": False, "server_version_num": 140010},
            "may outwait deadlocks",
            (PASS, "ok"),
        ),
    ],
)
def test_what_a_session_lacks(facts: dict[str, int], criterion: str, expected: tuple[Verdict, str]) -> None:
    found = check_session(replace(SESSION, **facts), None, "nova", needs_signal=True)  # type: ignore[arg-type]  # fields of it

    assert judged(found, criterion) == expected


# ------------------------------------------------------------------ slots, archive, standbys

SLOT = ReplicationSlot("s", "physical", True, "reserved", None, 1000)


@pytest.mark.parametrize(
    ("changes", "wal_bytes", "max_keep_bytes", "expected"),
    [
        ({}, 100, None, (PASS, "ok")),
        ({"wal_status": "lost", "active": False, "retained_bytes": None}, 100, 10**6, (WARN, "slot_lost")),
        ({"wal_status": "unreserved"}, 100, 10**6, (FAIL, "slot_unreserved")),
        ({"wal_status": "unreserved", "retained_bytes": None}, None, 10**6, (FAIL, "slot_unreserved")),
        ({"safe_wal_size_bytes": 99, "active": False}, 100, 10**6, (FAIL, "slot_would_be_lost")),
        ({"safe_wal_size_bytes": 99}, 100, 10**6, (WARN, "slot_may_be_lost")),
        ({"safe_wal_size_bytes": 100, "active": False}, 100, 10**6, (PASS, "ok")),
        # What the builds write is not known: nothing can be said against a limit.
        ({"safe_wal_size_bytes": 0, "active": False}, None, 10**6, (PASS, "ok")),
        ({"active": False}, 100, None, (WARN, "slot_inactive")),
        ({"active": False}, None, None, (WARN, "slot_inactive")),
    ],
)
def test_slots(
    changes: dict[str, object],
    wal_bytes: int | None,
    max_keep_bytes: int | None,
    expected: tuple[Verdict, str],
) -> None:
    slot = replace(SLOT, **changes)  # type: ignore[arg-type]  # fields of it

    assert judged(check_slots([slot], wal_bytes, max_keep_bytes), "WAL retention") == expected


def test_without_slots_nothing_holds_wal_back() -> None:
    assert judged(check_slots([], 100, None), "WAL retention") == (PASS, "ok")


def test_each_endangered_slot_is_told() -> None:
    slots = [
        replace(SLOT, slot_name="gone", wal_status="lost"),
        SLOT,
        replace(SLOT, slot_name="idle", active=False),
    ]

    assert [one.subject for one in check_slots(slots, 1, None)] == ["slot gone", "slot idle"]


ARCHIVER = ArchiverFacts("on", 0, None, 900.0, None, 1000.0)


@pytest.mark.parametrize(
    ("archiver", "expected"),
    [
        (replace(ARCHIVER, archive_mode="off", last_failed_time=950.0), (PASS, "ok")),
        (ARCHIVER, (PASS, "ok")),
        # It failed, and has recovered since.
        (replace(ARCHIVER, failed_count=3, last_failed_time=800.0), (PASS, "ok")),
        (replace(ARCHIVER, failed_count=3, last_failed_time=950.0), (FAIL, "archive_failing")),
        (replace(ARCHIVER, last_archived_time=None, last_failed_time=950.0), (FAIL, "archive_failing")),
        (replace(ARCHIVER, last_archived_time=None), (UNKNOWN, "never_archived")),
    ],
)
def test_archiving(archiver: ArchiverFacts, expected: tuple[Verdict, str]) -> None:
    assert judged([check_archiving(archiver)], "archiving") == expected


LAG = ReplicationLag(1, "standby", "streaming", "async", 1000, 0.1)
MARKS = PreflightOptions(
    warn_lag_seconds=60, max_lag_seconds=600, warn_lag_bytes=10_000, max_lag_bytes=100_000
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (PASS, "ok")),
        ({"replay_lag_bytes": 10_001}, (WARN, "behind")),
        ({"replay_lag_seconds": 61.0}, (WARN, "behind")),
        ({"replay_lag_bytes": 100_001}, (FAIL, "far_behind")),
        ({"replay_lag_seconds": 601.0}, (FAIL, "far_behind")),
        # It has replayed everything: the seconds are those of the last write.
        ({"replay_lag_bytes": 0, "replay_lag_seconds": 601.0}, (PASS, "ok")),
        ({"replay_lag_seconds": None}, (PASS, "ok")),
        ({"state": None, "replay_lag_bytes": None, "replay_lag_seconds": None}, (UNKNOWN, "not_permitted")),
        ({"state": "startup", "replay_lag_bytes": None}, (UNKNOWN, "not_reported")),
    ],
)
def test_standbys(changes: dict[str, object], expected: tuple[Verdict, str]) -> None:
    assert judged(check_lag([replace(LAG, **changes)], MARKS), "replica lag") == expected  # type: ignore[arg-type]  # fields of it


def test_without_standbys_nobody_is_behind() -> None:
    assert judged(check_lag([], MARKS), "replica lag") == (PASS, "ok")


# ------------------------------------------------------------------ wraparound

AGES = WraparoundFacts(
    xid_age=1,
    mxid_age=1,
    freeze_max_age=200,
    multixact_freeze_max_age=400,
    failsafe_age=1000,
    multixact_failsafe_age=2000,
)


@pytest.mark.parametrize(
    ("xid_age", "mxid_age", "expected"),
    [
        (599, 1199, (PASS, "ok")),
        (600, 1, (WARN, "near_failsafe")),
        (1, 1200, (WARN, "near_failsafe")),
        (1000, 1, (FAIL, "failsafe_reached")),
        (1, 2000, (FAIL, "failsafe_reached")),
    ],
)
def test_the_distance_of_the_database_by_transactions_and_multixacts(
    xid_age: int, mxid_age: int, expected: tuple[Verdict, str]
) -> None:
    found = check_wraparound(replace(AGES, xid_age=xid_age, mxid_age=mxid_age), 0.6)

    assert judged([found], "wraparound") == expected


TABLE_AGE = TableAge(1, 0, 1, 1, 200, 400)


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (TABLE_AGE, (PASS, "ok")),
        (replace(TABLE_AGE, xid_age=120), (WARN, "vacuum_due")),
        (replace(TABLE_AGE, mxid_age=240), (WARN, "vacuum_due")),
        (replace(TABLE_AGE, mxid_age=None), (PASS, "ok")),
        (replace(TABLE_AGE, xid_age=None), (UNKNOWN, "not_seen")),
        (None, (UNKNOWN, "not_seen")),
    ],
)
def test_the_distance_of_a_table(age: TableAge | None, expected: tuple[Verdict, str]) -> None:
    assert judged([check_table_age(relation("messages"), age, 0.6)], "wraparound") == expected


# ------------------------------------------------------------------ limits of the builds

ESTIMATE = IndexEstimate(declare("i", "messages"), 100, 50, 100, 100.0, 10.0, is_rough=False)
STORAGE = StorageFacts(64 * 1024**2, None, None, "pg_default", "", "")


@pytest.mark.parametrize(
    ("deadline_seconds", "expected"),
    [
        (200.0, (PASS, "ok")),
        (199.0, (WARN, "near_deadline")),
        (100.0, (WARN, "near_deadline")),
        (99.0, (FAIL, "over_deadline")),
    ],
)
def test_the_deadline(deadline_seconds: float, expected: tuple[Verdict, str]) -> None:
    assert judged(check_duration([ESTIMATE], deadline_seconds), "max duration") == expected


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, (PASS, "ok")), (50, (PASS, "ok")), (49, (FAIL, "over_limit"))]
)
def test_temporary_files(limit: int | None, expected: tuple[Verdict, str]) -> None:
    storage = replace(STORAGE, temp_file_limit_bytes=limit)

    assert judged(check_temporary_files([ESTIMATE], storage), "temporary files") == expected


# ------------------------------------------------------------------ who is in the way

BLOCKER = Blocker(
    kind="lock",
    relid=1,
    mode="RowExclusiveLock",
    granted=True,
    pid=7,
    gid=None,
    usename="app",
    application_name="a writer",
    backend_type="client backend",
    state="idle in transaction",
    transaction_age_seconds=60.0,
    query=None,
    prevents_wraparound=None,
    builds_index=False,
    backend_start=None,
    xact_start=None,
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (WARN, "would_wait")),
        ({"transaction_age_seconds": 4.9}, (PASS, "ok")),
        ({"transaction_age_seconds": None}, (UNKNOWN, "not_permitted")),
        (
            {"kind": "prepared", "pid": None, "gid": "it's", "transaction_age_seconds": 0.1},
            (WARN, "would_wait"),
        ),
        # The server itself cancels an autovacuum that a build waits for, but not one against wraparound.
        ({"backend_type": "autovacuum worker"}, (PASS, "ok")),
        ({"backend_type": "autovacuum worker", "prevents_wraparound": True}, (WARN, "would_wait")),
        ({"application_name": "pg-index-exporter/0badcafe/idx_a"}, (PASS, "ok")),
    ],
)
def test_who_holds_the_table(changes: dict[str, object], expected: tuple[Verdict, str]) -> None:
    table = relation("messages")
    found = list(check_blockers([replace(BLOCKER, **changes)], {1: table}, 5.0))  # type: ignore[arg-type]  # fields of it
    of_table = [one for one in found if one.subject == table.quoted]

    assert judged(of_table, "blockers") == expected
    assert judged([one for one in found if one not in of_table], "blockers") == (PASS, "ok")


def test_an_old_snapshot_is_in_the_way_of_the_database() -> None:
    table = relation("messages")
    found = list(check_blockers([replace(BLOCKER, kind="snapshot", relid=None)], {1: table}, 5.0))

    assert [(one.subject, one.verdict) for one in found] == [(table.quoted, PASS), ("the database", WARN)]


DUMP = RunningBackup(7, "dump", "pg_dump", "backup", None, 60.0)


@pytest.mark.parametrize(
    ("running", "dump", "base_backup"),
    [
        ([], (PASS, "ok"), (PASS, "ok")),
        ([DUMP], (WARN, "dump_running"), (PASS, "ok")),
        ([replace(DUMP, kind="base backup")], (PASS, "ok"), (WARN, "base_backup_running")),
        # Its age is hidden, but not that it is there.
        ([replace(DUMP, usename=None, age_seconds=None)], (WARN, "dump_running"), (PASS, "ok")),
    ],
)
def test_backups_that_run(
    running: list[RunningBackup], dump: tuple[Verdict, str], base_backup: tuple[Verdict, str]
) -> None:
    found = list(check_running_backups(running))

    assert judged(found, "running dump") == dump
    assert judged(found, "running base backup") == base_backup


# ------------------------------------------------------------------ declarations


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (IndexState.ABSENT, PASS),
        (IndexState.PRESENT, PASS),
        (IndexState.COVERED, PASS),
        (IndexState.INCOMPLETE, PASS),
        (IndexState.BUILDING_OURS, PASS),
        (IndexState.DROPPING_OURS, PASS),
        (IndexState.INVALID_OURS, WARN),
        (IndexState.DEGRADED, WARN),
        (IndexState.INVALID_FOREIGN, FAIL),
        (IndexState.CONFLICT, FAIL),
        (IndexState.BUILDING_FOREIGN, FAIL),
    ],
)
def test_where_a_declaration_stands(state: IndexState, verdict: Verdict) -> None:
    index = ObservedIndex(declare("i", "messages"), state, "CREATE INDEX …", detail="as it stands")

    assert judged(check_declarations([index]), "definition") == (
        verdict,
        "ok" if verdict is PASS else state.value,
    )


def test_every_state_of_an_index_is_judged() -> None:
    (marker,) = test_where_a_declaration_stands.pytestmark  # type: ignore[attr-defined]  # pytest's own

    assert {state for state, _ in marker.args[1]} == set(IndexState)


def test_declarations_that_could_not_be_tried_are_unknown() -> None:
    assert judged([not_compiled(manifest_of(declare("i", "messages")))], "definition") == (
        UNKNOWN,
        "not_tried",
    )
