"""Where indexes stand, as text, Markdown, JSON and an exit code."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.migrate.report import (
    status_as_json,
    status_as_markdown,
    status_as_text,
    status_exit_code,
)
from exporter.migrate.status import IndexStatus, IndexUsage, Status
from exporter.model import DeclaredIndex, IndexState
from exporter.postgres.builds.progress import BuildProgress
from exporter.postgres.journal import LogRow
from exporter.postgres.sessions.locks import LockHolder
from exporter.postgres.sessions.other_sessions import OtherSession
from exporter.postgres.sessions.tool_sessions import run_of
from exporter.text.characters import columns_of
from tests.unit.migrate.report.test_report import keys_of
from tests.unit.migrate.samples import BUILT_AT, MESSAGES, ODD, POSTS, STARTED_AT, observed

PAGE = Path(__file__).parents[4] / "docs" / "status.md"
FORMS = {"txt": status_as_text, "md": status_as_markdown, "json": status_as_json}
MIGRATION = "090_quick_win_4_missing_indexes"


def log(name: str | None, phase: str, status: str, run: str = "0f3a9c1d") -> LogRow:
    return LogRow(MIGRATION, name, phase, status, 1, run, None, {}, "index_builder", BUILT_AT)


def index_status(
    index: DeclaredIndex, state: IndexState, row: LogRow | None = None, detail: str = ""
) -> IndexStatus:
    return IndexStatus(observed(index, state, detail), "declaration", None, row)


def status_of(*indexes: IndexStatus, row: LogRow | None = None) -> Status:
    address = "database 'nova' at 127.0.0.1:5432"
    at = STARTED_AT + timedelta(minutes=12)
    return Status(MIGRATION, "nova", address, "18.6", False, at, None, row, indexes)


def session(pid: int, query: str | None) -> OtherSession:
    return OtherSession(
        pid=pid,
        gid=None,
        usename="reporting",
        application_name="nightly report",
        backend_type="client backend",
        state="idle in transaction",
        mode=None,
        has_snapshot=True,
        prevents_wraparound=False,
        transaction_age_seconds=754.0,
        waiting_seconds=None,
        backend_start=None,
        xact_start=None,
        query=query,
    )


PROGRESS = BuildProgress(
    pid=4711,
    relid=16384,
    index_relid=16390,
    application_name="pg-index-exporter/0f3a9c1d/idx_messages_sender_created",
    usename="index_builder",
    command="CREATE INDEX CONCURRENTLY",
    phase="waiting for old snapshots",
    lockers_total=2,
    lockers_done=1,
    blocks_total=None,
    blocks_done=None,
    tuples_total=None,
    tuples_done=None,
    indexname="idx_messages_sender_created",
    amname="btree",
    ancestors=(),
    waiting_seconds=3.0,
    blockers=(session(4712, "SELECT count(*) FROM messages WHERE note = 'secret'"),),
)


def building() -> Status:
    """One index is built and waits for a session, the other stands."""
    started = log(MESSAGES.name, "building", "in_progress")
    work = index_status(MESSAGES, IndexState.BUILDING_OURS, started, "being built by pid 4711")
    work = replace(work, progress=PROGRESS, run="0f3a9c1d", since=STARTED_AT)
    present = index_status(
        POSTS, IndexState.PRESENT, log(POSTS.name, "catalog_ok", "done"), "present as declared"
    )
    usage = IndexUsage(1, BUILT_AT, BUILT_AT, STARTED_AT, 20 * 1024 * 1024)
    return status_of(work, replace(present, usage=usage), row=log(None, "planned", "in_progress"))


def dropping() -> Status:
    drop = replace(PROGRESS, phase=None, command=None, blockers=(session(4713, None),))
    work = index_status(MESSAGES, IndexState.DROPPING_OURS, log(MESSAGES.name, "dropping", "in_progress"))
    return status_of(replace(work, progress=drop, run="0f3a9c1d", since=STARTED_AT))


def troubled() -> Status:
    """What was stopped, what is not ours, what cannot be compared."""
    states = [
        index_status(MESSAGES, IndexState.DEGRADED, log(MESSAGES.name, "dropping", "degraded")),
        index_status(POSTS, IndexState.INVALID_OURS, log(POSTS.name, "building", "in_progress")),
        index_status(replace(POSTS, name="idx_foreign"), IndexState.INVALID_FOREIGN),
        index_status(
            replace(POSTS, name="idx_killed"), IndexState.ABSENT, log("idx_killed", "building", "in_progress")
        ),
        replace(
            index_status(replace(POSTS, name="idx_unknown"), IndexState.PRESENT),
            compared_with=None,
            not_compared="permission denied for table posts",
        ),
        replace(
            index_status(replace(POSTS, name="idx_taken"), IndexState.CONFLICT, None, "another definition"),
        ),
    ]
    return replace(status_of(*states), no_journal=None)


def on_a_standby_without_a_journal() -> Status:
    present = replace(
        index_status(ODD, IndexState.PRESENT),
        compared_with=None,
        not_compared="cannot execute CREATE TABLE in a read-only transaction",
    )
    return replace(status_of(present), in_recovery=True, no_journal="there is none in schema public")


def about_to_begin() -> Status:
    """A run holds the table of an index that it has not begun; of the other it had died."""
    waiting = index_status(
        MESSAGES,
        IndexState.ABSENT,
        log(MESSAGES.name, "quiesced", "in_progress"),
        "there is no index of that name",
    )
    killed = index_status(
        POSTS, IndexState.ABSENT, log(POSTS.name, "building", "in_progress", "deadbeef"), "no such index"
    )
    holder = LockHolder(4711, "pg-index-exporter/0f3a9c1d/idx", "index_builder", is_active=False)
    return status_of(replace(waiting, holder=holder), replace(killed, holder=holder))


STATUSES: dict[str, Callable[[], Status]] = {
    "building": building,
    "dropping": dropping,
    "troubled": troubled,
    "about_to_begin": about_to_begin,
    "standby": on_a_standby_without_a_journal,
}
every_status = pytest.mark.parametrize("make", STATUSES.values(), ids=STATUSES)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", STATUSES)
def test_the_status_reads_as_it_did(name: str, form: str, golden: Callable[[str, str], None]) -> None:
    golden(f"status_{name}.{form}", FORMS[form](STATUSES[name]()))


@pytest.mark.parametrize(
    ("usage", "shown"),
    [
        (IndexUsage(0, None, BUILT_AT, STARTED_AT, 0), "0 scans since 2026-08-20 14:03:18 UTC; size 0 bytes"),
        (IndexUsage(0, None, STARTED_AT, BUILT_AT, 0), "0 scans since 2026-08-20 14:03:18 UTC; size 0 bytes"),
        (
            IndexUsage(1234, STARTED_AT, None, BUILT_AT, None),
            "1234 scans since 2026-08-20 14:03:18 UTC or its creation, the last at 2026-08-20 14:03:11 UTC; "
            "size unknown",
        ),
        (IndexUsage(5, None, None, None, 1), "5 scans since an unknown time or its creation; size 1 bytes"),
        (IndexUsage(None, None, None, None, None), "scans unknown; size unknown"),
    ],
)
def test_scans_are_shown_with_the_time_that_they_count_from(usage: IndexUsage, shown: str) -> None:
    status = status_of(replace(index_status(MESSAGES, IndexState.PRESENT), usage=usage))

    assert shown in " ".join(status_as_text(status).split())


@every_status
def test_no_line_is_wider_than_a_terminal_or_acts_upon_it(make: Callable[[], Status]) -> None:
    lines = status_as_text(make()).split("\n")

    assert max(map(columns_of, lines)) <= 80
    assert all(line.isprintable() for line in lines)


@every_status
def test_json_has_the_documented_keys_only(make: Callable[[], Status]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    text = status_as_json(make())

    assert text.isascii()
    assert {key for key in keys_of(json.loads(text)) if f"`{key}`" not in page} == set()


def test_a_build_is_told_with_phase_share_run_and_whom_it_waits_for() -> None:
    text = re.sub(r"\s+", " ", status_as_text(building()))

    assert "1 of 2 declared indexes are in place." in text
    assert "waiting for old snapshots, pid 4711, user index_builder, run 0f3a9c1d, since" in text
    assert "(12 min)" in text
    assert "waits for pid 4712, user reporting, nightly report, idle in transaction" in text
    assert "secret" not in text
    assert "100%" in text or "99%" in text


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ((), 0),
        ((IndexState.PRESENT, IndexState.COVERED), 0),
        ((IndexState.PRESENT, IndexState.ABSENT), 1),
        ((IndexState.CONFLICT, IndexState.ABSENT), 4),
        ((IndexState.BUILDING_OURS,), 4),
        ((IndexState.DROPPING_OURS,), 4),
        ((IndexState.INVALID_FOREIGN, IndexState.CONFLICT), 3),
        ((IndexState.INVALID_OURS,), 3),
        ((IndexState.DEGRADED,), 3),
    ],
)
def test_the_exit_code_tells_the_worst(states: tuple[IndexState, ...], code: int) -> None:
    assert status_exit_code(status_of(*(index_status(MESSAGES, state) for state in states))) == code


def test_what_cannot_be_compared_does_not_count_as_declared() -> None:
    status = on_a_standby_without_a_journal()

    assert status_exit_code(status) == 1
    assert "0 of 1 declared index is in place." in status_as_text(status)


@pytest.mark.parametrize(
    ("application_name", "run"),
    [
        ("pg-index-exporter/0f3a9c1d/idx", "0f3a9c1d"),
        ("pg-index-exporter-cleanup/0f3a9c1d", "0f3a9c1d"),
        ("pg-index-exporter", None),
        ("pg-index-exporters/0f3a9c1d", None),
        ("psql", None),
        (None, None),
    ],
)
def test_the_run_of_a_session_is_in_its_name(application_name: str | None, run: str | None) -> None:
    assert run_of(application_name) == run


def test_a_run_that_is_about_to_begin_is_not_taken_for_dead() -> None:
    waiting, killed = status_as_text(about_to_begin()).split("  absent ")[1:]

    assert "run 0f3a9c1d is working on its table (pid 4711)" in waiting
    assert "->" not in waiting
    assert "run deadbeef was killed before it finished; run init again" in killed


def test_another_build_of_the_tool_is_no_session_in_the_way() -> None:
    sibling = replace(session(99, None), application_name="pg-index-exporter/0f3a9c1d/idx_b")
    work = building().indexes[0]
    progress = replace(PROGRESS, blockers=(sibling,), waiters=(sibling, session(100, "SELECT 1")))

    text = " ".join(status_as_text(status_of(replace(work, progress=progress))).split())

    assert "waits for this tool's build of idx_b (pid 99), which ends without action" in text
    assert "1 session waits behind it" in text
