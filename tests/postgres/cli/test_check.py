"""`check` against real servers: what passes, what fails with which hint, and the exit code."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from exporter.cli import main
from exporter.postgres.journal import EventStatus, Journal, Phase
from tests.conftest import OwnServer, TestDatabase
from tests.support.builds import session
from tests.support.postgres_server import PostgresServer
from tests.support.roles import PASSWORD, make_role
from tests.support.tools import find_tool

MANIFEST = """\
migration: 090_test
analyze: [app.posts]
indexes:
  - {name: idx_messages_id, table: public.messages, columns: [id]}
"""
FREE = ("--web.listen-address", "127.0.0.1:0")


@pytest.fixture
def shop(every_database: TestDatabase) -> TestDatabase:
    """A database in which nothing is missing, but a role."""
    database = every_database
    database.execute("CREATE SCHEMA app")
    database.execute("CREATE EXTENSION pg_stat_statements")
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE TABLE app.posts (id int)")
    with session(database) as connection:
        journal = Journal(connection, "public", "090_test", "run")
        journal.ensure()
        journal.append(Phase.DONE, EventStatus.DONE, index_name="idx_messages_id", definition="CREATE …")
    return database


@pytest.fixture
def monitor(shop: TestDatabase) -> Iterator[str]:
    """The role of deploy/sql/monitor.sql."""
    find_tool("psql")
    name = f"{shop.name}_monitor"
    make_role(shop, "monitor.sql", name, "{messages,app.posts}")
    yield name
    drop_role(shop, name)


@pytest.fixture
def nobody(shop: TestDatabase) -> Iterator[str]:
    """A role that may log in and nothing else."""
    name = f"{shop.name}_nobody"
    shop.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), PASSWORD))
    yield name
    drop_role(shop, name)


def drop_role(database: TestDatabase, name: str) -> None:
    database.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    database.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "m.yaml"
    path.write_text(MANIFEST)
    return path


Check = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def check(manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """The exit code and the JSON of `check` on a database."""

    def run(dsn: str, *flags: str, with_manifest: bool = True) -> tuple[int, dict[str, Any]]:
        monkeypatch.setenv("PG_INDEX_EXPORTER_DSN", dsn)
        bound = ("--manifest", str(manifest)) if with_manifest else ()
        capsys.readouterr()
        code = main(["check", "--format", "json", *FREE, *bound, *flags])
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert document["exit_code"] == code
        return code, document

    return run


def shortcomings(document: dict[str, Any]) -> dict[tuple[str, str], tuple[str, str, str]]:
    """What did not pass: subject and criterion to verdict, reason and hint."""
    findings = [*document["findings"], *(one for found in document["databases"] for one in found["findings"])]
    return {
        (finding["subject"], finding["criterion"]): (finding["verdict"], finding["reason"], finding["hint"])
        for finding in findings
        if finding["verdict"] != "pass"
    }


def verdicts(document: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {key: f"{verdict} {reason}" for key, (verdict, reason, _) in shortcomings(document).items()}


def run_hints(database: TestDatabase, document: dict[str, Any], beginning: str) -> None:
    """Does what the hints say that hold a command with this beginning."""
    for _, _, hint in shortcomings(document).values():
        if beginning in hint:
            commands = hint[hint.index(beginning) :].partition(": ")[0]
            for command in commands.split("; "):
                database.execute(command)


def test_the_bundled_role_lacks_nothing(shop: TestDatabase, monitor: str, check: Check) -> None:
    code, document = check(shop.server.dsn(shop.name, monitor, PASSWORD))

    assert shortcomings(document) == {}
    assert code == 0
    (database,) = document["databases"]
    assert database["answered"] is True
    assert database["datname"] == shop.name
    assert database["server_version"].startswith(str(shop.server.version_num // 10000))


def test_a_role_with_nothing_is_mended_by_what_is_said(shop: TestDatabase, nobody: str, check: Check) -> None:
    shop.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    for function in ("pg_control_system()", "public.pg_stat_statements(boolean)"):
        shop.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    dsn = shop.server.dsn(shop.name, nobody, PASSWORD)

    code, document = check(dsn)

    role = f"role {nobody}"
    own_traces = {
        (role, "own queries are not counted"): "unknown own_reads_counted",
        (role, "own queries are not recorded"): "unknown own_statements_recorded",
    }
    assert verdicts(document) == {
        ("server", "identity"): "fail not_permitted",
        (role, "can read all statistics"): "fail not_permitted",
        **own_traces,
        ("pg_stat_statements", "can be read"): "fail not_permitted",
        ("table public.messages", "can be planned"): "fail not_permitted",
        ("table app.posts", "can be planned"): "fail not_permitted",
        ("journal in schema public", "can be read"): "fail not_permitted",
    }
    assert code == 1

    run_hints(shop, document, "GRANT")
    code, document = check(dsn)

    assert verdicts(document) == own_traces
    assert code == 0

    run_hints(shop, document, "ALTER ROLE")
    _, document = check(dsn)

    assert verdicts(document) == {}


def test_a_superuser_is_told_to_read_with_a_role_of_its_own(shop: TestDatabase, check: Check) -> None:
    code, document = check(shop.dsn)

    hints = {hint for _, _, hint in shortcomings(document).values()}
    assert hints == {"connect as a role for the exporter alone: deploy/sql/monitor.sql creates one"}
    assert code == 0


def test_what_is_not_there_yet(every_database: TestDatabase, check: Check) -> None:
    code, document = check(every_database.dsn)

    found = {key: value for key, value in verdicts(document).items() if not key[0].startswith("role")}
    assert found == {
        ("pg_stat_statements", "installed"): "fail not_installed",
        ("table public.messages", "exists"): "fail absent",
        ("table app.posts", "exists"): "fail absent",
        ("journal in schema public", "exists"): "unknown not_created",
    }
    assert code == 1


def test_statements_that_nobody_wants_are_not_missed(every_database: TestDatabase, check: Check) -> None:
    _, document = check(every_database.dsn, "--max-statements", "0", "--watch", "all", with_manifest=False)

    assert {subject for subject, _ in verdicts(document)} == {"role postgres"}


def test_an_extension_left_behind_by_an_upgrade(shop: TestDatabase, check: Check) -> None:
    key = ("pg_stat_statements", "version")
    found = {}
    for version in ("1.7", "1.8", "1.9"):
        shop.execute("DROP EXTENSION pg_stat_statements")
        shop.execute(f"CREATE EXTENSION pg_stat_statements VERSION '{version}'")
        _, document = check(shop.dsn)
        found[version] = verdicts(document).get(key)

    assert found == {"1.7": "fail too_old", "1.8": "unknown evictions_unknown", "1.9": None}


def test_statistics_that_are_off_for_everybody(shop: TestDatabase, check: Check) -> None:
    for setting in ("track_counts = off", "pg_stat_statements.track = none", "compute_query_id = off"):
        shop.execute(sql.SQL(f"ALTER DATABASE {{}} SET {setting}").format(sql.Identifier(shop.name)))

    code, document = check(shop.dsn)

    assert verdicts(document) == {
        ("server", "statistics are counted"): "fail track_counts_off",
        ("pg_stat_statements", "records statements"): "fail track_none",
        ("pg_stat_statements", "query identifiers"): "fail compute_query_id_off",
    }
    assert code == 1


def test_a_journal_of_somebody_else(every_database: TestDatabase, check: Check) -> None:
    every_database.execute("CREATE TABLE migration_events (id int)")
    every_database.execute("CREATE TABLE migration_log (id int)")

    _, document = check(every_database.dsn)

    assert verdicts(document)["journal in schema public", "belongs to this tool"] == "fail not_ours"


def test_an_index_without_its_canonical_definition(shop: TestDatabase, manifest: Path, check: Check) -> None:
    manifest.write_text(MANIFEST.replace("idx_messages_id", '\'"Odd ""index"\''))

    _, document = check(shop.dsn)

    key = ("journal in schema public", "canonical definitions")
    assert verdicts(document)[key] == "unknown no_definition"


def test_indexes_and_databases_that_are_cut(shop: TestDatabase, tmp_path: Path, check: Check) -> None:
    for number in range(3):
        shop.execute(f"CREATE INDEX idx_{number} ON messages (id)")
    file = tmp_path / "settings.yaml"
    file.write_text(
        "max_indexes: 3\nmax_databases: 1\nwatch: all\ntargets:\n"
        f"  - {{name: one, dsn: '{shop.server.dsn()}', databases: [{{pattern: '{shop.name[:-2]}*'}}]}}\n"
        f"  - {{name: two, dsn: '{shop.server.dsn()}', databases: [{{pattern: 'no-such-*'}}]}}\n"
    )

    _, document = check("", "--config.file", str(file), with_manifest=False)

    found = {
        (database["target"], database["datname"], key): value
        for database in document["databases"]
        for key, value in verdicts({"findings": [], "databases": [database]}).items()
    }
    assert found["one", shop.name, ("watched indexes", "at most max_indexes")] == "fail cut"
    assert found["two", "postgres", ("server", "patterns match")] == "unknown no_database"


@pytest.mark.parametrize(
    ("change", "reason", "hint"),
    [
        ({"password": "canary-wrong"}, "denied", "check user, password and pg_hba.conf"),
        ({"dbname": "no_such_database"}, "denied", "check the name of the database"),
        ({"port": "1"}, "unreachable", "check that the server runs"),
    ],
)
def test_a_database_that_does_not_answer(
    server: PostgresServer,
    check: Check,
    change: dict[str, str],
    reason: str,
    hint: str,
) -> None:
    code, document = check(make_conninfo(server.dsn(), **change))

    ((verdict, found, said),) = shortcomings(document).values()
    assert (verdict, found) == ("fail", reason)
    assert hint in said
    assert "canary" not in json.dumps(document)
    assert code == 4


def test_a_target_that_does_not_answer_hides_no_other(
    shop: TestDatabase, tmp_path: Path, check: Check
) -> None:
    down = make_conninfo(shop.dsn, port=1)
    file = tmp_path / "settings.yaml"
    file.write_text(
        f"watch: all\ntargets:\n  - {{name: down, dsn: '{down}'}}\n  - {{name: up, dsn: '{shop.dsn}'}}\n"
    )

    code, document = check("", "--config.file", str(file), with_manifest=False)

    answers = {
        (database["target"], finding["verdict"])
        for database in document["databases"]
        for finding in database["findings"]
        if (finding["subject"], finding["criterion"]) == ("server", "answers")
    }
    asked = {database["target"]: len(database["findings"]) for database in document["databases"]}
    assert code == 4
    assert answers == {("down", "fail"), ("up", "pass")}
    assert asked["up"] > asked["down"] == 1


def test_a_role_that_may_not_connect_is_told_the_grant(shop: TestDatabase, nobody: str, check: Check) -> None:
    shop.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(shop.name)))

    code, document = check(shop.server.dsn(shop.name, nobody, PASSWORD))

    assert code == 4
    assert (
        shortcomings(document)["server", "answers"][2] == f"GRANT CONNECT ON DATABASE {shop.name} TO {nobody}"
    )


def test_a_server_without_the_library(own_server: OwnServer, check: Check) -> None:
    server = own_server(settings={"shared_preload_libraries": ""})
    server.execute("CREATE EXTENSION pg_stat_statements")

    code, document = check(server.dsn(), "--watch", "all", with_manifest=False)

    found = {key: value for key, value in verdicts(document).items() if key[0] == "pg_stat_statements"}
    assert found == {("pg_stat_statements", "preloaded"): "fail not_preloaded"}
    assert code == 1


def test_faults_of_manifest_and_web_configuration_are_told_together(
    server: PostgresServer, manifest: Path, tmp_path: Path, check: Check
) -> None:
    manifest.write_text(MANIFEST.replace("columns", "colums"))
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_users: {alice: canary-secret}\n")

    code, document = check(server.dsn(), "--web.config.file", str(web))

    assert code == 2
    places = [fault["place"] for fault in document["faults"]]
    assert f"{manifest}:4" in places
    assert f"{web}:1" in places
    assert "canary" not in json.dumps(document)
    assert "databases" not in document


def test_variables_that_do_not_count_and_passwords_that_show(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGPASSWORD", "canary-environment")
    monkeypatch.setenv("PGHOST", "elsewhere")

    main(["check", "--format", "json", *FREE, "--watch", "all", "--dsn", server.dsn()])
    output = capsys.readouterr().out

    found = shortcomings(json.loads(output))
    assert found["settings", "variables of libpq"][:2] == ("unknown", "ignored")
    assert found["settings", "no password on the command line"][:2] == ("fail", "visible")
    assert "PGHOST, PGPASSWORD" in output
    assert "canary" not in output
    assert server.password not in output


def test_an_address_that_is_taken(server: PostgresServer, check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        _, document = check(server.dsn(), "--web.listen-address", where, with_manifest=False)

    verdict, reason, hint = shortcomings(document)["settings", "listen address"]
    assert (verdict, reason) == ("fail", "not_available")
    assert "choose another port" in hint


def test_nothing_to_watch_is_told(server: PostgresServer, check: Check) -> None:
    _, document = check(server.dsn(), with_manifest=False)

    assert shortcomings(document)["settings", "something is watched"][:2] == ("fail", "nothing_declared")


def test_the_text_fits_a_terminal(
    shop: TestDatabase,
    nobody: str,
    manifest: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PG_INDEX_EXPORTER_DSN", shop.server.dsn(shop.name, nobody, PASSWORD))

    code = main(["check", *FREE, "--manifest", str(manifest)])

    output = capsys.readouterr().out
    assert code == 1
    assert "1 of 1 database answers." in output
    assert f"-> GRANT pg_monitor TO {nobody}" in output
    assert max(map(len, output.splitlines())) <= 80
