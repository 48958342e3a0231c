"""The psql script of a migration, run by psql."""

import os
import subprocess
from pathlib import Path

import pytest

from exporter import bundled
from exporter.manifest.loader import load_manifest
from exporter.migrate.assessment import read_assessment
from exporter.migrate.observe.indexes import observe
from exporter.migrate.plan.psql_script import as_script
from exporter.migrate.plan.steps import plan_build
from exporter.model import DeclaredIndex, IndexState, Manifest, RelationName
from exporter.postgres.journal import Journal
from exporter.postgres.sessions.locks import acquire_table_lock
from tests.conftest import TestDatabase
from tests.postgres.migrate.running import run_with
from tests.support.builds import session
from tests.support.declared import declare, manifest_of
from tests.support.tools import find_tool

NOVA = "090_quick_win_4_missing_indexes"


def run_script(
    database: TestDatabase, script: str, tmp_path: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """How psql ended with the script as a file."""
    file = tmp_path / "migration.sql"
    file.write_text(script, encoding="utf-8")
    return subprocess.run(
        [find_tool("psql"), "-X", "-d", database.dsn, "-f", file],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, **environment},
    )


def states(database: TestDatabase, manifest: Manifest) -> list[IndexState]:
    """Where the declared indexes stand."""
    with session(database) as connection:
        return [index.state for index in observe(connection, manifest, {})]


def events(database: TestDatabase) -> list[tuple[str | None, str, str]]:
    """Index, phase and status of every event, in order."""
    rows = database.execute("SELECT index_name, phase, status FROM migration_events ORDER BY id")
    return [(row[0], row[1], row[2]) for row in rows]


def test_the_bundled_script_is_what_plan_writes() -> None:
    folder = bundled.path("indexes")
    manifest = load_manifest(folder / f"{NOVA}.yaml")

    written = (folder / f"{NOVA}.sql").read_text(encoding="utf-8")

    assert as_script(manifest, "public") == written, "write it anew: make scripts"


def test_the_bundled_script_builds_and_a_second_run_changes_nothing(
    nova_database: TestDatabase, tmp_path: Path
) -> None:
    folder = bundled.path("indexes")
    manifest = load_manifest(folder / f"{NOVA}.yaml")
    script = (folder / f"{NOVA}.sql").read_text(encoding="utf-8")

    first = run_script(nova_database, script, tmp_path)
    kept = events(nova_database)
    second = run_script(nova_database, script, tmp_path)

    assert (first.returncode, first.stderr) == (0, "")
    assert states(nova_database, manifest) == [IndexState.PRESENT, IndexState.PRESENT]
    log = nova_database.execute(
        "SELECT index_name, phase, status FROM migration_log WHERE name = %s ORDER BY index_name", [NOVA]
    )
    assert log == [
        ("idx_messages_sender_created", "done", "done"),
        ("idx_posts_user_created", "done", "done"),
        (None, "done", "done"),
    ]
    assert (second.returncode, second.stderr) == (0, "")
    assert "nothing to do" in second.stdout
    assert events(nova_database) == kept


def test_the_journal_serves_the_tool_afterwards(nova_database: TestDatabase, tmp_path: Path) -> None:
    manifest = load_manifest(bundled.path("indexes") / f"{NOVA}.yaml")

    run_script(nova_database, as_script(manifest, "public"), tmp_path)

    with session(nova_database) as connection:
        created = Journal(connection, "public", NOVA, "test").created()
        observed = observe(connection, manifest, created)
    assert {name: entry.definition for name, entry in created.items()} == {
        index.declared.name: index.found_definition for index in observed
    }
    assert plan_build(manifest, observed).steps == ()


def test_it_stops_at_an_invalid_leftover(database: TestDatabase, tmp_path: Path) -> None:
    database.execute("CREATE TABLE messages (id int, sender int)")
    database.execute("INSERT INTO messages VALUES (1, 1), (1, 2)")
    index = declare("idx_unique", "messages", "id", unique=True)
    with pytest.raises(Exception, match="could not create unique index"):
        database.execute("CREATE UNIQUE INDEX CONCURRENTLY idx_unique ON messages (id)")

    ended = run_script(database, as_script(manifest_of(index), "public"), tmp_path)

    assert ended.returncode == 3
    assert "INVALID" in ended.stderr
    assert "DROP INDEX CONCURRENTLY" in ended.stderr
    assert states(database, manifest_of(index)) == [IndexState.INVALID_FOREIGN]


def test_it_stops_at_another_definition(database: TestDatabase, tmp_path: Path) -> None:
    database.execute("CREATE TABLE messages (id int, sender int)")
    database.execute("CREATE INDEX idx_a ON messages (sender)")
    manifest = manifest_of(declare("idx_a", "messages", "id"))

    ended = run_script(database, as_script(manifest, "public"), tmp_path)

    assert ended.returncode == 3
    assert "another definition" in ended.stderr
    assert states(database, manifest) == [IndexState.CONFLICT]


def test_an_equal_index_under_another_name_settles_it(database: TestDatabase, tmp_path: Path) -> None:
    database.execute("CREATE TABLE messages (id int, sender int)")
    database.execute("CREATE INDEX idx_other ON messages (id)")
    manifest = manifest_of(declare("idx_a", "messages", "id"))

    ended = run_script(database, as_script(manifest, "public"), tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "covered" in ended.stdout
    assert states(database, manifest) == [IndexState.COVERED]


def test_names_may_hold_anything(database: TestDatabase, tmp_path: Path) -> None:
    table = RelationName("Odd \"schema\"\n:'x'", "user\\t$sql$ :pgix_run")
    names = ["idx'\"\n<b>", "ü" * 31, "$sql", "select", "back\\slash"]
    database.execute('CREATE SCHEMA "Odd ""schema""\n:\'x\'"')
    database.execute('CREATE TABLE "Odd ""schema""\n:\'x\'"."user\\t$sql$ :pgix_run" ("a :b" int, c text)')
    indexes = [
        DeclaredIndex(name, table, ('"a :b"', f"(c || '{number}\\:x$sql$')"), where="c <> ':pgix_run'';'")
        for number, name in enumerate(names)
    ]
    manifest = manifest_of(*indexes, analyze=())

    ended = run_script(database, as_script(manifest, "public"), tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert states(database, manifest) == [IndexState.PRESENT] * len(names)


@pytest.mark.parametrize(
    "planted",
    [
        {"where": "id > 0; COMMIT; DROP TABLE bystander"},
        {"where": "id > 0; DROP TABLE bystander; --"},
        {"where": "id > 0\n\\! touch planted\n"},
        {"columns": ("id); DROP TABLE bystander; --",)},
        {"columns": ("id); COMMIT; DROP TABLE bystander; --",)},
        {"options": ("fillfactor = 70); COMMIT; DROP TABLE bystander; --",)},
        {"include": ("id); COMMIT; DROP TABLE bystander; --",)},
    ],
)
def test_a_planted_command_does_nothing(
    database: TestDatabase, tmp_path: Path, planted: dict[str, object]
) -> None:
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE TABLE bystander (id int)")
    manifest = manifest_of(declare("idx_a", "messages", **planted))

    ended = run_script(database, as_script(manifest, "public"), tmp_path)

    assert ended.returncode == 3
    assert database.execute("SELECT count(*) FROM pg_class WHERE relname = 'bystander'") == [(1,)]
    assert not (tmp_path / "planted").exists()


def test_the_journal_may_have_a_schema_of_its_own(database: TestDatabase, tmp_path: Path) -> None:
    database.execute("CREATE TABLE messages (id int)")
    database.execute('CREATE SCHEMA "Audit"')
    manifest = manifest_of(declare("idx_a", "messages", "id"))

    ended = run_script(database, as_script(manifest, "Audit"), tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")
    rows = database.execute("SELECT phase FROM \"Audit\".migration_log WHERE index_name = 'idx_a'")
    assert rows == [("done",)]


def test_a_run_that_was_stopped_is_finished_by_the_next(database: TestDatabase, tmp_path: Path) -> None:
    database.execute("CREATE TABLE messages AS SELECT g AS id FROM generate_series(1, 100) g")
    manifest = manifest_of(declare("idx_a", "messages", "id"))
    script = as_script(manifest, "public")
    until_built, _, _ = script.partition("-- What was built and not seen through")

    stopped = run_script(database, until_built, tmp_path)
    analyzed = "SELECT last_analyze IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'messages'"
    assert (stopped.returncode, database.execute(analyzed)) == (0, [(False,)])
    finished = run_script(database, script, tmp_path)

    assert (finished.returncode, finished.stderr) == (0, "")
    assert database.execute(analyzed) == [(True,)]
    assert events(database) == [
        ("idx_a", "building", "in_progress"),
        ("idx_a", "catalog_ok", "done"),
        ("idx_a", "analyzed", "done"),
        ("idx_a", "done", "done"),
        (None, "done", "done"),
    ]
    with session(database) as connection:
        journal = Journal(connection, "public", "001_test", "test")
        assessment = read_assessment(run_with(database, manifest, journal))
    assert assessment.plan.steps == ()


def test_it_stops_while_another_run_works_on_the_table(database: TestDatabase, tmp_path: Path) -> None:
    database.execute("CREATE TABLE messages (id int)")
    manifest = manifest_of(declare("idx_a", "messages", "id"))
    [(relid,)] = database.execute("SELECT 'messages'::regclass::oid::int8")
    with session(database) as other:
        assert acquire_table_lock(other, relid, budget_seconds=0)
        ended = run_script(database, as_script(manifest, "public"), tmp_path)

    assert ended.returncode == 3
    assert "another run works on the table" in ended.stderr
    assert states(database, manifest) == [IndexState.ABSENT]


def test_the_encoding_of_the_terminal_is_not_that_of_the_script(
    database: TestDatabase, tmp_path: Path
) -> None:
    database.execute('CREATE TABLE "Größe" ("Länge" int)')
    manifest = manifest_of(declare("idx_ß", RelationName("public", "Größe"), '"Länge"'))

    ended = run_script(database, as_script(manifest, "public"), tmp_path, PGCLIENTENCODING="LATIN1")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert states(database, manifest) == [IndexState.PRESENT]


def test_settings_of_the_session_change_no_definition(database: TestDatabase, tmp_path: Path) -> None:
    database.execute("CREATE TABLE messages (id int, at timestamp, share float8)")
    index = declare("idx_a", "messages", "id", where="at > '2026-02-01 12:00' AND share > 0.1")
    manifest = manifest_of(index)
    hostile = (
        "-c datestyle=German -c extra_float_digits=-10 -c quote_all_identifiers=on"
        " -c lock_timeout=1 -c default_transaction_read_only=on"
    )

    ended = run_script(database, as_script(manifest, "public"), tmp_path, PGOPTIONS=hostile)

    assert (ended.returncode, ended.stderr) == (0, "")
    with session(database) as connection:
        created = Journal(connection, "public", "001_test", "test").created()
        (observed,) = observe(connection, manifest, created)
    assert observed.state is IndexState.PRESENT
    assert created["idx_a"].definition == observed.definition
    again = run_script(database, as_script(manifest, "public"), tmp_path, PGOPTIONS=hostile)
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True)


@pytest.mark.pg(">= 15")
def test_the_tablespace_belongs_to_the_definition(
    database: TestDatabase, tablespace: str, tmp_path: Path
) -> None:
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_a ON messages (id)")
    there, elsewhere = (
        manifest_of(declare("idx_a", "messages", "id", tablespace=name))
        for name in ("pg_default", tablespace)
    )

    ends = [run_script(database, as_script(one, "public"), tmp_path).returncode for one in (there, elsewhere)]

    assert ends == [0, 3]
    assert states(database, there) == [IndexState.PRESENT]
    assert states(database, elsewhere) == [IndexState.CONFLICT]


def test_it_stops_at_a_partitioned_table_and_says_who_builds_there(
    database: TestDatabase, tmp_path: Path
) -> None:
    database.execute("CREATE TABLE messages (id int) PARTITION BY RANGE (id)")
    manifest = manifest_of(declare("idx_a", "messages", "id"))

    ended = run_script(database, as_script(manifest, "public"), tmp_path)

    assert ended.returncode == 3
    assert "public.messages is partitioned" in ended.stderr
    assert "pg-index-exporter init" in ended.stderr
    assert events(database) == []
    assert states(database, manifest) == [IndexState.ABSENT]
