"""What a target's connection string gives libpq, asked of a server."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from exporter.settings.binding import resolve_targets
from exporter.settings.connection.conninfo import sealed, take_environment, variables
from exporter.settings.loading import load_settings
from tests.conftest import TestDatabase

PASSWORD = "p'q\\ r"


@pytest.fixture
def role(database: TestDatabase) -> Iterator[str]:
    """A role with a password."""
    name = f"{database.name}_role"
    identifier = sql.Identifier(name)
    database.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(identifier, sql.Literal(PASSWORD)))
    yield name
    database.execute(sql.SQL("DROP ROLE {}").format(identifier))


def conninfo(database: TestDatabase, role: str, **environment: str) -> str:
    """What a target without a password resolves to."""
    server = database.server
    dsn = f"postgresql://{role}@{server.host}:{server.port}/{database.name}"
    settings = load_settings(file=None, flags={"dsn": dsn}, environment=environment)
    (target,) = resolve_targets(settings)
    return target.databases[0].conninfo.get_secret_value()


def test_every_variable_of_libpq_is_without_effect(
    database: TestDatabase, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "host": database.server.host,
        "port": str(database.server.port),
        "user": role,
        "password": PASSWORD,
        "dbname": database.name,
    }
    complete = sealed(given)
    with monkeypatch.context() as patch:
        for keyword, variable in variables().items():
            if keyword != "service":  # has no neutral value: take_environment removes it
                patch.setenv(variable, "nonsense")
        with pytest.raises(psycopg.Error):
            psycopg.connect(database.dsn)

        with psycopg.connect(complete) as connection:
            said = connection.info.get_parameters()
            row = connection.execute("SELECT current_user, current_database()").fetchone()

    assert row == (role, database.name)
    assert "nonsense" not in str(said)


def test_the_password_of_the_environment_is_not_sent_to_a_named_server(
    database: TestDatabase, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    server = database.server
    bare = f"host={server.host} port={server.port} user={role} dbname={database.name}"
    # The variable would have been enough …
    psycopg.connect(bare).close()

    # … and is not used.
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(conninfo(database, role, PGPASSWORD=PASSWORD))


def test_a_passfile_counts_only_when_asked_for(
    database: TestDatabase, role: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = database.server
    password = PASSWORD.replace("\\", "\\\\")
    passfile = tmp_path / ".pgpass"
    passfile.write_text(f"{server.host}:{server.port}:*:{role}:{password}\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    text = f"""\
targets:
  - name: one
    host: {server.host}
    port: {server.port}
    user: {role}
    passfile: .pgpass
    databases: [{database.name}]
"""
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    (asked,) = resolve_targets(load_settings(file=file, flags={}, environment={}))

    psycopg.connect(asked.databases[0].conninfo.get_secret_value()).close()
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(conninfo(database, role))


def test_the_environment_alone_names_a_server(database: TestDatabase, role: str) -> None:
    server = database.server
    environment = {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": role,
        "PGPASSWORD": PASSWORD,
        "PGDATABASE": database.name,
        "PGOPTIONS": "-c work_mem=77MB",
    }
    (target,) = resolve_targets(load_settings(file=None, flags={}, environment=environment))

    with psycopg.connect(target.databases[0].conninfo.get_secret_value()) as connection:
        row = connection.execute("SELECT current_user, current_setting('work_mem')").fetchone()
    assert row == (role, "77MB")


def test_a_service_leads_where_libpq_goes_itself(
    database: TestDatabase, role: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = database.server
    file = tmp_path / "services.conf"
    file.write_text(
        f"[other]\nhost=nowhere\n[mine]\nhost={server.host}\nport={server.port}\nuser={role}\n"
        f"password={PASSWORD}\ndbname=nothing\ndbname=ignored\n"
    )
    given = f"service=mine dbname={database.name}"
    settings = load_settings(file=None, flags={"dsn": given}, environment={"PGSERVICEFILE": str(file)})
    (target,) = resolve_targets(settings)
    monkeypatch.setenv("PGSERVICEFILE", str(file))

    for conninfo in (given, target.databases[0].conninfo.get_secret_value()):
        with psycopg.connect(conninfo) as connection:
            row = connection.execute("SELECT current_user, current_database()").fetchone()
        assert row == (role, database.name)


def test_a_service_of_the_environment_stops_libpq_until_it_is_taken(
    database: TestDatabase, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = database.server
    complete = sealed(
        {"host": server.host, "port": str(server.port), "user": role, "password": PASSWORD, "dbname": "x"}
    ).replace("dbname=x", f"dbname={database.name}")
    with monkeypatch.context() as patch:
        patch.setenv("PGSERVICE", "nonsense")
        with pytest.raises(psycopg.OperationalError, match="nonsense"):
            psycopg.connect(complete)

        taken = take_environment(os.environ)

        psycopg.connect(complete).close()
    assert taken["PGSERVICE"] == "nonsense"
