"""What builds would meet: each check from a server in that state, in its pass and its other verdicts."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from exporter.cli import main
from exporter.migrate.build import BuildOptions
from exporter.migrate.preflight import PlanEstimate, PreflightOptions, check_before_build, check_plan
from exporter.migrate.run import check_readiness, initialise
from exporter.migrate.situation import RunOptions
from exporter.model import BackupCommand, Database, DeclaredIndex, Finding, Verdict
from exporter.postgres.target import connect
from tests.conftest import OwnServer, TestDatabase
from tests.postgres.migrate.running import QUICK
from tests.support.builds import as_declared, indexes_of, leave_invalid, session, writer
from tests.support.declared import declare, manifest_of
from tests.support.pooler import pooled
from tests.support.postgres_server import LocalServer, local_binaries
from tests.support.roles import PASSWORD
from tests.support.waiting import wait_for

INDEX = declare("idx_a", "messages", "sender_id")
# Every age counts: tests do not wait for a blocker to grow old.
OPTIONS = PreflightOptions(blocker_age_seconds=0)


def findings_of(
    database: TestDatabase,
    *indexes: DeclaredIndex,
    options: PreflightOptions = OPTIONS,
    user: str | None = None,
) -> tuple[Finding, ...]:
    """What a session finds about building these indexes."""
    builds = indexes or (INDEX,)
    declared = as_declared(database, user, None if user is None else PASSWORD)
    with closing(connect(declared, read_only=False)) as connection:
        return check_plan(connection, manifest_of(*builds), builds, options).findings


def told(findings: tuple[Finding, ...], criterion: str) -> dict[str, tuple[Verdict, str]]:
    """Subject to verdict and reason of one check."""
    return {one.subject: (one.verdict, one.reason) for one in findings if one.criterion == criterion}


def only(findings: tuple[Finding, ...], criterion: str) -> Finding:
    (finding,) = (one for one in findings if one.criterion == criterion)
    return finding


@pytest.fixture
def stranger(shop: TestDatabase) -> Iterator[str]:
    """A role that may log in and nothing else."""
    name = f"{shop.name}_stranger"
    shop.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), PASSWORD))
    yield name
    shop.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    shop.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def own_shop(own_server: OwnServer, request: pytest.FixtureRequest) -> TestDatabase:
    """A private server with the settings of the test, and the table messages on it."""
    database = TestDatabase(own_server(getattr(request, "param", {})), "postgres")
    database.execute(
        "CREATE TABLE messages AS SELECT g AS id, g % 10 AS sender_id FROM generate_series(1, 1000) g"
    )
    database.execute("ANALYZE")
    return database


# ------------------------------------------------------------------ the pass


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


# ------------------------------------------------------------------ who is in the way


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
    assert "ROLLBACK PREPARED 'it''s 1'" in (finding.mend or "")
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
    assert finding.mend == 'DROP INDEX CONCURRENTLY public."Old one"'
    shop.execute('DROP INDEX "Old one"')
    assert only(findings_of(shop), "invalid indexes").verdict is Verdict.PASS


# ------------------------------------------------------------------ rows


@pytest.mark.oldest_too
def test_duplicates_are_counted_and_not_shown(shop: TestDatabase) -> None:
    by_sender = declare("u", "messages", "sender_id", unique=True)
    finding = only(findings_of(shop, by_sender), "duplicates")

    assert (finding.verdict, dict(finding.facts)) == (Verdict.FAIL, {"key_count": 10, "row_count": 1000})
    assert finding.found == "10 keys occur more than once, in 1000 rows"
    by_id = declare("u", "messages", "id", "lower(content)", unique=True)
    assert only(findings_of(shop, by_id), "duplicates").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({}, Verdict.PASS),
        ({"where": "deleted_at IS NOT NULL"}, Verdict.PASS),
        pytest.param({"nulls_not_distinct": True}, Verdict.FAIL, marks=pytest.mark.pg(">= 15")),
    ],
)
def test_nulls_are_duplicates_only_where_declared(
    shop: TestDatabase, options: dict[str, Any], verdict: Verdict
) -> None:
    index = declare("u", "messages", "deleted_at", unique=True, **options)

    assert only(findings_of(shop, index), "duplicates").verdict is verdict


def test_what_takes_too_long_to_count_is_unknown(shop: TestDatabase) -> None:
    shop.execute(
        "CREATE FUNCTION slow(n bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql "
        "AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN n; END $$"
    )
    index = declare("u", "messages", "public.slow(id)", unique=True)
    patient = replace(OPTIONS, query_budget_seconds=0.4)
    found = findings_of(shop, index, options=patient)

    # Its rows cannot be sampled in that time either.
    assert Verdict.FAIL not in {one.verdict for one in found}
    assert {one.reason for one in found if one.subject == "public.u"} <= {"too_slow", "not_planned"}


def test_an_expression_that_fails_is_told_without_the_value(shop: TestDatabase) -> None:
    shop.execute("UPDATE messages SET status = 'hunter2' WHERE id = 500")
    index = declare("u", "messages", "(CASE WHEN id = 500 THEN status::int ELSE id END)", unique=True)
    found = findings_of(shop, index)

    assert "hunter2" not in "".join(one.found + (one.mend or "") for one in found)
    assert {one.verdict for one in found if one.subject == "public.u"} & {Verdict.UNKNOWN, Verdict.FAIL}


# ------------------------------------------------------------------ space and time


def test_the_estimate_is_what_the_index_takes_at_most(shop: TestDatabase) -> None:
    shop.execute("INSERT INTO messages SELECT g + 1000, g, md5(g::text) FROM generate_series(1, 20000) g")
    shop.execute("ANALYZE messages")
    for index in (
        declare("i1", "messages", "id"),
        declare("i2", "messages", "sender_id", "content", "created_at DESC"),
        declare("i3", "messages", "lower(content)", where="id % 2 = 0"),
        declare("i4", "messages", "id", include=("content",), options=("fillfactor = 60",)),
        declare("i5", "messages", "id", method="hash"),
        declare("i6", "messages", "id", method="brin"),
    ):
        disk = only(findings_of(shop, index), "disk")
        with session(shop) as connection:
            from exporter.postgres import ddl

            ddl.run_single(connection, ddl.create_index(index, concurrently=False))
        ((size,),) = shop.execute("SELECT pg_relation_size(%s::regclass)", [index.name])
        estimated = dict(disk.facts)["index_bytes"]
        assert isinstance(estimated, int)
        assert size <= estimated <= 3 * size + 32 * 1024, index.name


def test_free_space_decides(shop: TestDatabase) -> None:
    unknown = only(findings_of(shop), "disk")
    need = sum(size for name, size in unknown.facts if name.endswith("_bytes") and isinstance(size, int))

    assert (unknown.verdict, unknown.reason) == (Verdict.UNKNOWN, "no_source")
    assert "--data-directory" in (unknown.mend or "")
    for free_bytes, reason in ((need - 1, "too_little"), (need, "nearly_full"), (2 * need, "ok")):
        found = only(findings_of(shop, options=replace(OPTIONS, free_bytes={"": free_bytes})), "disk")
        assert found.reason == reason


def test_the_data_directory_tells_its_volume(shop: TestDatabase, tmp_path: Path) -> None:
    if not isinstance(shop.server, LocalServer):
        pytest.skip("the server's files are not on this machine")
    seen = only(
        findings_of(shop, options=replace(OPTIONS, data_directory=shop.server.data_directory)), "disk"
    )
    absent = only(findings_of(shop, options=replace(OPTIONS, data_directory=tmp_path / "absent")), "disk")
    (tmp_path / "global").mkdir()
    (tmp_path / "global" / "pg_control").write_bytes(b"another1" * 4)
    other = only(findings_of(shop, options=replace(OPTIONS, data_directory=tmp_path)), "disk")

    assert seen.verdict in (Verdict.PASS, Verdict.WARN)
    assert dict(seen.facts)["free_bytes"] is not None
    assert (absent.verdict, absent.reason) == (Verdict.UNKNOWN, "not_seen")
    assert (other.verdict, other.reason) == (Verdict.UNKNOWN, "other_server")


@pytest.mark.pg(">= 15")
def test_each_tablespace_is_judged_alone(shop: TestDatabase, tablespace: str) -> None:
    index = declare("i", "messages", "id", tablespace=tablespace)
    found = told(
        findings_of(shop, index, options=replace(OPTIONS, free_bytes={"": 10**12, tablespace: 1})), "disk"
    )

    assert found["data directory"] == (Verdict.PASS, "ok")
    assert found[f"tablespace {tablespace}"] == (Verdict.FAIL, "too_little")


def test_the_limit_of_temporary_files_is_heeded(shop: TestDatabase) -> None:
    shop.execute("INSERT INTO messages SELECT g, g, repeat('x', 50) FROM generate_series(1, 30000) g")
    shop.execute("ANALYZE messages")
    role = sql.SQL("ALTER DATABASE {} SET {} = {}")
    for name, value in (("maintenance_work_mem", "1MB"), ("temp_file_limit", "100kB")):
        shop.execute(role.format(sql.Identifier(shop.name), sql.Identifier(name), value))

    assert told(findings_of(shop, declare("i", "messages", "content")), "temporary files") == {
        "public.i": (Verdict.FAIL, "over_limit")
    }


def test_the_deadline_is_held_against_the_size(shop: TestDatabase) -> None:
    finding = only(findings_of(shop, options=replace(OPTIONS, deadline_seconds=0.0001)), "max duration")

    assert (finding.verdict, finding.reason) == (Verdict.FAIL, "over_deadline")


# ------------------------------------------------------------------ WAL, standbys, age


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
        return True if "1 stream" in only(findings_of(own_shop), "replica lag").found else None

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


# ------------------------------------------------------------------ backups


@pytest.mark.parametrize(
    ("words", "seconds", "verdict", "reason"),
    [
        (("true",), 30, Verdict.PASS, "ok"),
        (("false",), 30, Verdict.FAIL, "command_failed"),
        (("no-such-program-here",), 30, Verdict.FAIL, "not_started"),
        (("sleep", "60"), 0.2, Verdict.FAIL, "timed_out"),
    ],
)
def test_a_command_proves_a_backup(
    shop: TestDatabase, words: tuple[str, ...], seconds: float, verdict: Verdict, reason: str
) -> None:
    finding = only(
        findings_of(shop, options=replace(OPTIONS, backup=BackupCommand(words, seconds))), "backup"
    )

    assert (finding.verdict, finding.reason) == (verdict, reason)


def test_what_proved_the_backup_is_in_the_journal(shop: TestDatabase) -> None:
    manifest = replace(manifest_of(INDEX), backup=BackupCommand(("echo", "label 42, password=hunter2")))
    outcome = initialise(as_declared(shop), manifest, RunOptions(build=BuildOptions(steps=QUICK)))
    ((kept,),) = shop.execute("SELECT detail -> 'backup' FROM migration_events WHERE phase = 'planned'")

    assert only(outcome.preflight, "backup").verdict is Verdict.PASS
    assert (kept["exit_code"], kept["output"]) == (0, "label 42, password=***")
    assert kept["command"] == "echo label 42, password=***"
    assert kept["seconds"] >= 0


def test_without_a_backup_nothing_is_built(shop: TestDatabase) -> None:
    manifest = replace(manifest_of(INDEX), backup=BackupCommand(("false",)))
    outcome = initialise(as_declared(shop), manifest, RunOptions())

    assert only(outcome.preflight, "backup").reason == "command_failed"
    assert outcome.results == ()
    assert indexes_of(shop) == {}
    assert shop.execute("SELECT to_regclass('migration_events')::text") == [(None,)]


def test_a_command_learns_the_server_and_no_secret(
    shop: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PG_INDEX_EXPORTER_DSN", shop.dsn)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-long-secret")
    script = 'echo "$PGHOST:$PGPORT/$PGDATABASE [$PG_INDEX_EXPORTER_DSN] $AWS_SECRET_ACCESS_KEY password=x9y"'
    command = BackupCommand(("sh", "-c", script))
    output = dict(only(findings_of(shop, options=replace(OPTIONS, backup=command)), "backup").facts)["output"]

    assert output == f"{shop.server.host}:{shop.server.port}/{shop.name} [] *** password=***"


def test_words_are_no_shell_and_output_is_bounded(shop: TestDatabase) -> None:
    command = BackupCommand(("printf", "%s", "$(id); " + "x" * 100_000))
    output = dict(only(findings_of(shop, options=replace(OPTIONS, backup=command)), "backup").facts)["output"]

    assert isinstance(output, str)
    assert len(output) == 200
    assert "uid=" not in output


def test_it_is_not_run_where_nothing_may_be_touched(shop: TestDatabase, tmp_path: Path) -> None:
    command = BackupCommand(("touch", str(tmp_path / "ran")))
    options = replace(OPTIONS, backup=command, runs_backup_command=False)

    assert only(findings_of(shop, options=options), "backup").reason == "not_run"
    assert not (tmp_path / "ran").exists()


# ------------------------------------------------------------------ a pooler


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
    assert f"GRANT pg_signal_backend TO {stranger}" in (found[True].mend or "")


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


# ------------------------------------------------------------------ the command


def test_the_command_tells_all_and_its_exit_code(
    shop: TestDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "migration: m\nbackup: {command: [echo, done], timeout_seconds: 10}\n"
        "indexes:\n- {name: i, table: messages, columns: [sender_id]}\n"
    )
    monkeypatch.setenv("PG_INDEX_EXPORTER_DSN", shop.dsn)

    def run(*flags: str) -> tuple[int, str]:
        code = main(["preflight", "--manifest", str(manifest), *flags])
        return code, capsys.readouterr().out

    code, text = run()
    assert code == 0
    assert max(map(len, text.splitlines())) <= 80
    assert "init would start" in text
    assert run("--strict")[0] == 1
    assert run("--strict", "--free-bytes", "1TB")[0] == 0
    code, text = run("--free-bytes", "1kB", "--format", "json")
    document = json.loads(text)
    assert (code, document["exit_code"]) == (1, 1)
    kinds = [one for one in document["findings"] if one["criterion"] == "table kind"]
    assert [(one["verdict"], one["found"]) for one in kinds] == [("pass", "an ordinary table")]
    (disk,) = (one for one in document["findings"] if one["criterion"] == "disk")
    assert (disk["verdict"], disk["facts"]["free_bytes"]) == ("fail", 1024)
    assert run("--format", "markdown")[1].startswith("# pg-index-exporter preflight m\n")
    shop.execute("ALTER TABLE messages RENAME COLUMN sender_id TO other")
    code, text = run("--format", "json")
    assert code == 1
    assert [one["reason"] for one in json.loads(text)["findings"] if one["criterion"] == "definition"] == [
        "refused"
    ]


READINESS = RunOptions(preflight=OPTIONS)


@pytest.mark.parametrize(
    ("statement", "table", "verdict", "found"),
    [
        ("CREATE TABLE other (id int) PARTITION BY RANGE (id)", "other", Verdict.PASS, "a partitioned table"),
        ("CREATE MATERIALIZED VIEW other AS SELECT 1 AS id", "other", Verdict.PASS, "a materialized view"),
        ("CREATE VIEW other AS SELECT 1 AS id", "other", Verdict.FAIL, "public.other is a view and cannot "),
        ("CREATE SEQUENCE other", "other", Verdict.FAIL, "public.other is a sequence and cannot "),
        ("SELECT", "other", Verdict.FAIL, "there is no table public.other"),
        ("SELECT", "pg_catalog.pg_class", Verdict.FAIL, "pg_catalog.pg_class is a system catalog"),
    ],
)
def test_what_can_have_no_index_is_told(
    shop: TestDatabase, statement: str, table: str, verdict: Verdict, found: str
) -> None:
    shop.execute(sql.SQL(statement))
    index = declare("i", table, "relkind" if table.startswith("pg_") else "id")
    findings = check_readiness(as_declared(shop), manifest_of(INDEX, index, analyze=()), READINESS).findings
    kinds = {one.subject: one for one in findings if one.criterion == "table kind"}

    assert kinds["public.messages"].verdict is Verdict.PASS
    assert (kinds[index.table.quoted].verdict, kinds[index.table.quoted].found[: len(found)]) == (
        verdict,
        found,
    )


def test_a_declaration_that_the_server_refuses_does_not_hide_the_rest(shop: TestDatabase) -> None:
    wrong = declare("i", "messages", "no_such_column")
    findings = check_readiness(as_declared(shop), manifest_of(wrong, analyze=()), READINESS).findings

    assert [verdict for verdict, _ in told(findings, "definition").values()] == [Verdict.FAIL]
    assert told(findings, "estimate") == {"public.i": (Verdict.UNKNOWN, "not_planned")}
    assert only(findings, "archiving").verdict is Verdict.PASS


def test_what_bears_the_name_already_is_told(shop: TestDatabase) -> None:
    taken = declare("idx_taken", "messages", "content")
    left = declare("idx_left", "messages", "created_at")
    missing = declare("idx_missing", "messages", "status")
    shop.execute("CREATE INDEX idx_taken ON messages (status)")
    leave_invalid(shop, sql.SQL("CREATE INDEX CONCURRENTLY idx_left ON messages (created_at)"))
    manifest = manifest_of(taken, left, missing, analyze=())

    assert told(check_readiness(as_declared(shop), manifest, READINESS).findings, "definition") == {
        "public.idx_taken": (Verdict.FAIL, "conflict"),
        "public.idx_left": (Verdict.FAIL, "invalid_foreign"),
        "public.idx_missing": (Verdict.PASS, "ok"),
    }


def test_who_may_not_build_is_told_all_that_can_be_seen(shop: TestDatabase, stranger: str) -> None:
    index = declare("u", "messages", "id", unique=True)
    declared = as_declared(shop, stranger, PASSWORD)
    findings = check_readiness(declared, manifest_of(index, analyze=("posts",)), READINESS).findings

    assert told(findings, "definition") == {"the database": (Verdict.UNKNOWN, "not_tried")}
    assert told(findings, "duplicates") == {"public.u": (Verdict.UNKNOWN, "not_compiled")}
    assert told(findings, "ownership") == {"public.messages": (Verdict.FAIL, "not_owner")}
    assert told(findings, "may analyze") == {"public.posts": (Verdict.FAIL, "not_owner")}
    assert told(findings, "table kind") == {"public.messages": (Verdict.PASS, "ok")}
    assert told(findings, "wraparound")["the database"] == (Verdict.PASS, "ok")


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


def test_a_function_that_may_not_be_called_hides_the_duplicates(shop: TestDatabase, stranger: str) -> None:
    for statement in (
        "CREATE FUNCTION secret(n bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql "
        "AS $$ BEGIN RETURN n; END $$",
        "REVOKE EXECUTE ON FUNCTION secret FROM PUBLIC",
        "GRANT SELECT ON messages TO {}",
    ):
        shop.execute(sql.SQL(statement).format(sql.Identifier(stranger)))
    found = only(
        findings_of(shop, declare("u", "messages", "public.secret(id)", unique=True), user=stranger),
        "duplicates",
    )

    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "not_permitted")
    assert found.found == "permission denied for function secret"
