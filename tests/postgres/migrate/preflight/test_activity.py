"""Who is in the way of builds: writers, snapshots, prepared transactions, dumps, base backups, leftovers."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from exporter.migrate.preflight import PlanEstimate, check_plan
from exporter.model import Verdict
from tests.conftest import OwnServer, TestDatabase
from tests.postgres.migrate.preflight.looking import INDEX, OPTIONS, findings_of, only, told
from tests.support.builds import leave_invalid, session, writer
from tests.support.declared import manifest_of
from tests.support.postgres_server import local_binaries
from tests.support.waiting import wait_for


def test_nothing_is_wanting_on_a_quiet_server(shop: TestDatabase) -> None:
    findings = findings_of(shop, options=replace(OPTIONS, free_bytes={"": 10**12}))

    wanting = {one.criterion: one.reason for one in findings if one.verdict is not Verdict.PASS}
    assert wanting == {"backup": "no_command"}
    assert {one.criterion for one in findings} == {
        *("disk", "temporary files", "max duration", "WAL retention", "archiving", "replica lag", "backup"),
        *("running dump", "running base backup", "blockers", "wraparound", "invalid indexes"),
    }


def test_without_builds_nothing_is_asked(shop: TestDatabase) -> None:
    with session(shop) as connection:
        assert check_plan(connection, manifest_of(INDEX), (), OPTIONS) == PlanEstimate()


def test_a_role_that_may_nothing_learns_what_it_may_not_see(shop: TestDatabase, stranger: str) -> None:
    # A temporary table is needed to compile on; the table itself it may not read.
    with writer(shop):
        findings = findings_of(shop, user=stranger)

    assert told(findings, "estimate") == {"public.idx_a": (Verdict.UNKNOWN, "not_permitted")}
    assert told(findings, "blockers")["public.messages"] == (Verdict.UNKNOWN, "not_permitted")


def test_a_writer_and_an_old_snapshot_are_told(shop: TestDatabase) -> None:
    with writer(shop), shop.connect() as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM posts")
        found = findings_of(shop)
        quick = findings_of(shop, options=replace(OPTIONS, blocker_age_seconds=3600))

    assert told(found, "blockers") == {
        "public.messages": (Verdict.WARN, "would_wait"),
        "the database": (Verdict.WARN, "would_wait"),
    }
    assert "a writer, idle in transaction" in " ".join(one.found for one in found)
    assert {verdict for verdict, _ in told(quick, "blockers").values()} == {Verdict.PASS}


@pytest.mark.parametrize("own_shop", [{"max_prepared_transactions": "2"}], indirect=True)
def test_a_prepared_transaction_is_told_however_young(own_shop: TestDatabase) -> None:
    with own_shop.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("DELETE FROM messages WHERE false")
        connection.execute("PREPARE TRANSACTION 'it''s 1'")
    finding = only(
        tuple(
            one
            for one in findings_of(own_shop, options=replace(OPTIONS, blocker_age_seconds=3600))
            if one.subject == "public.messages"
        ),
        "blockers",
    )

    assert (finding.verdict, dict(finding.facts)["gids"]) == (Verdict.WARN, ["it's 1"])
    assert "ROLLBACK PREPARED 'it''s 1'" in (finding.hint or "")
    own_shop.execute("ROLLBACK PREPARED 'it''s 1'")
    assert told(findings_of(own_shop), "blockers")["public.messages"][0] is Verdict.PASS


def test_a_dump_is_told(shop: TestDatabase) -> None:
    with psycopg.connect(make_conninfo(shop.dsn, application_name="pg_dump"), autocommit=True) as dump:
        dump.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        dump.execute("SELECT 1")
        found = findings_of(shop)

    assert told(found, "running dump") == {"the database": (Verdict.WARN, "dump_running")}
    assert told(found, "blockers")["the database"] == (Verdict.WARN, "would_wait")


def test_a_real_dump_is_told_while_it_runs(own_server: OwnServer) -> None:
    database = TestDatabase(own_server(kind="debian"), "postgres")
    database.execute("CREATE TABLE messages AS SELECT g AS id, g AS sender_id FROM generate_series(1, 10) g")
    database.execute("CREATE TABLE held (id int)")
    database.execute("ANALYZE")
    with database.connect() as holder:
        # The dump has its snapshot and waits for this table.
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
        with dumping(database):
            wait_for(
                "the dump at its lock",
                lambda: (
                    database.execute(
                        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pg_dump' "
                        "AND wait_event_type = 'Lock' AND backend_xmin IS NOT NULL"
                    )
                    or None
                ),
            )
            running = findings_of(database)
            holder.execute("ROLLBACK")
    wait_for(
        "the end of the dump",
        lambda: True if only(findings_of(database), "running dump").verdict is Verdict.PASS else None,
    )

    assert told(running, "running dump") == {"the database": (Verdict.WARN, "dump_running")}
    assert "pg_dump" in only(running, "running dump").found
    assert told(running, "blockers")["the database"] == (Verdict.WARN, "would_wait")


@contextmanager
def dumping(database: TestDatabase) -> Iterator[None]:
    """Debian's pg_dump of the database; at the end of the block it ends well."""
    process = subprocess.Popen(
        [local_binaries("debian") / "pg_dump", "--dbname", database.dsn],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        yield
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_a_base_backup_is_told(own_shop: TestDatabase) -> None:
    with base_backup(own_shop):
        finding = wait_for(
            "the base backup",
            lambda: next(
                (
                    one
                    for one in findings_of(own_shop)
                    if one.criterion == "running base backup" and one.verdict is Verdict.WARN
                ),
                None,
            ),
        )

    assert finding.reason == "base_backup_running"
    assert "pg_basebackup" in finding.found


@contextmanager
def base_backup(database: TestDatabase) -> Iterator[None]:
    """A real base backup that is read slowly, to the end of the block."""
    process = subprocess.Popen(
        [
            *(
                local_binaries("embedded") / "pg_basebackup",
                "--pgdata=-",
                "--format=tar",
                "--wal-method=none",
            ),
            *("--max-rate=32k", "--checkpoint=fast", "--dbname", database.server.dsn("")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    assert process.stdout is not None
    drain = threading.Thread(target=process.stdout.read, daemon=True)
    drain.start()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        drain.join()
        process.stdout.close()


def test_leftovers_are_told_with_the_command_that_removes_them(shop: TestDatabase) -> None:
    leave_invalid(shop, sql.SQL('CREATE INDEX CONCURRENTLY "Old one" ON messages (id)'))

    finding = only(findings_of(shop), "invalid indexes")
    assert (finding.verdict, finding.reason) == (Verdict.WARN, "leftovers")
    assert finding.hint == 'DROP INDEX CONCURRENTLY public."Old one"'
    shop.execute('DROP INDEX "Old one"')
    assert only(findings_of(shop), "invalid indexes").verdict is Verdict.PASS
