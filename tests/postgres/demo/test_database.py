"""The demo's roles: the same rights as deploy/sql gives, and passwords nowhere to be read."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, errors

from exporter.demo import database
from exporter.demo.database import NovaDatabase, create_database, write_password_file
from exporter.demo.server import EmbeddedServer
from tests.support.run_directory import run_directory
from tests.support.tools import find_tool

SCRIPTS = Path(__file__).resolve().parents[3] / "deploy" / "sql"
RIGHTS = """
    SELECT
        (SELECT array_agg(roleid::regrole::text ORDER BY 1) FROM pg_auth_members WHERE member = role),
        (SELECT array_agg(setting ORDER BY 1) FROM pg_db_role_setting, unnest(setconfig) AS setting
         WHERE setrole = role),
        (SELECT array_agg(privilege ORDER BY 1)
         FROM unnest(ARRAY['CONNECT', 'TEMPORARY', 'CREATE']) AS privilege
         WHERE has_database_privilege(role, current_database(), privilege)),
        (SELECT array_agg(privilege ORDER BY 1) FROM unnest(ARRAY['USAGE', 'CREATE']) AS privilege
         WHERE has_schema_privilege(role, 'public', privilege)),
        (SELECT array_agg(relname || ' ' || privilege ORDER BY 1)
         FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
             AND has_table_privilege(role, pg_class.oid, privilege))
    FROM (SELECT %s::regrole::oid AS role) AS one
"""


@pytest.fixture(scope="module")
def nova_server() -> Iterator[EmbeddedServer]:
    """A server of its own: roles belong to the whole server."""
    directory = run_directory() / "nova-roles"
    with EmbeddedServer(
        directory, password="throw-away", settings=database.SETTINGS, disposable=True
    ) as server:
        yield server


@pytest.fixture(scope="module")
def roles(nova_server: EmbeddedServer) -> NovaDatabase:
    return create_database(nova_server)


@pytest.mark.parametrize("role", ["index_monitor", "index_builder"])
def test_rights_are_those_that_the_scripts_give(
    nova_server: EmbeddedServer, roles: NovaDatabase, role: str
) -> None:
    given = conninfo.conninfo_to_dict(nova_server.dsn("nova"))
    password = str(given.pop("password"))
    script = SCRIPTS / f"{role.removeprefix('index_')}.sql"
    subprocess.run(
        [
            *(find_tool("psql"), "-X", "-q", "-d", conninfo.make_conninfo("", **given)),
            *("-v", f"role=by_script_{role}", "-v", "tables={messages,posts}", "-f", script),
        ],
        env={"PGPASSWORD": password},
        capture_output=True,
        check=True,
    )

    with psycopg.connect(nova_server.dsn("nova")) as connection:
        ours = connection.execute(RIGHTS, (role,)).fetchone()
        by_script = connection.execute(RIGHTS, (f"by_script_{role}",)).fetchone()

    assert ours == by_script
    assert ours is not None
    assert ours[0]


def test_the_app_owns_its_tables_and_the_monitor_cannot_write(roles: NovaDatabase) -> None:
    with psycopg.connect(roles.app_dsn, autocommit=True) as connection:
        owners = connection.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        assert connection.execute("SELECT count(*) >= 0 FROM pg_stat_statements").fetchone() == (True,)
    assert owners == [("nova",)]

    with psycopg.connect(roles.monitor_dsn, autocommit=True) as connection:
        assert connection.execute("SHOW track_counts").fetchone() == ("off",)
        assert connection.execute("SHOW pg_stat_statements.track").fetchone() == ("none",)
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("DELETE FROM messages")


def test_passwords_are_neither_in_the_log_nor_in_pg_stat_statements(
    nova_server: EmbeddedServer, roles: NovaDatabase
) -> None:
    with psycopg.connect(nova_server.dsn("nova")) as connection:
        texts = connection.execute("SELECT string_agg(query, ' ') FROM pg_stat_statements").fetchone()
    assert texts is not None
    seen = texts[0] + nova_server.log_path.read_text()

    assert "ALTER ROLE" in seen
    for dsn in (roles.app_dsn, roles.builder_dsn, roles.monitor_dsn):
        assert str(conninfo.conninfo_to_dict(dsn)["password"]) not in seen


def test_the_password_file_opens_every_role(roles: NovaDatabase, tmp_path: Path) -> None:
    path = tmp_path / "pgpass"

    write_password_file(path, roles)

    assert path.stat().st_mode & 0o777 == 0o600
    for dsn in (roles.app_dsn, roles.builder_dsn, roles.monitor_dsn):
        given = conninfo.conninfo_to_dict(dsn)
        del given["password"]
        with psycopg.connect(conninfo.make_conninfo("", **given, passfile=str(path))) as connection:
            assert connection.info.user == given["user"]
