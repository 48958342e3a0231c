"""Finding databases on a real server."""

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from exporter.errors import TargetUnreachable
from exporter.model import Database, DatabasePattern, Target
from exporter.postgres.fetching import column_names
from exporter.postgres.queries import query_text
from exporter.postgres.server.discovery import DatabaseRow, find_databases, read_databases
from exporter.secret import SecretStr
from tests.conftest import OwnServer
from tests.support.postgres_server import PostgresServer

ODD_NAME = "ä\"\n\t{}%s'\\ ;"


@pytest.fixture
def prefix(server: PostgresServer) -> Iterator[str]:
    """What the names of this test's databases begin with; they are dropped at its end."""
    prefix = f"found_{secrets.token_hex(6)}_"
    yield prefix
    server.execute(
        "UPDATE pg_database SET datistemplate = false, datconnlimit = -1 WHERE starts_with(datname, %s)",
        params=[prefix],
    )
    for (datname,) in server.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", params=[prefix]
    ):
        server.drop_database(datname)


def create(server: PostgresServer, name: str, options: str = "") -> str:
    statement = sql.SQL("CREATE DATABASE {} " + options)
    server.execute(statement.format(sql.Identifier(name)))
    return name


def target(server: PostgresServer, *patterns: str, names: tuple[str, ...] = ()) -> Target:
    maintenance = Database("postgres", SecretStr(server.dsn()))
    named = tuple(Database(name, maintenance.conninfo) for name in names)
    return Target("one", named, tuple(map(DatabasePattern, patterns)), maintenance if patterns else None)


def test_databases_are_found_connected_to_and_in_order(server: PostgresServer, prefix: str) -> None:
    create(server, f"{prefix}b")
    create(server, f"{prefix}a")
    odd = create(server, prefix + ODD_NAME)

    found = find_databases(target(server, f"{prefix}*", names=("postgres",)))

    assert [database.datname for database in found] == ["postgres", f"{prefix}a", f"{prefix}b", odd]
    with psycopg.connect(found[-1].conninfo.get_secret_value(), dbname=odd) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (odd,)


def test_templates_and_databases_without_connections_are_not_found(
    server: PostgresServer, prefix: str
) -> None:
    create(server, f"{prefix}plain")
    create(server, f"{prefix}template", "IS_TEMPLATE true")
    create(server, f"{prefix}closed", "ALLOW_CONNECTIONS false")
    dropped_half_way = create(server, f"{prefix}invalid")
    server.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", params=[dropped_half_way])

    found = find_databases(target(server, f"{prefix}*"))

    assert [database.datname for database in found] == [f"{prefix}plain"]


def test_a_name_in_another_encoding_does_not_hide_the_others(own_server: OwnServer) -> None:
    # Of its own: what compares names as text fails on such a server from then on.
    server = own_server()
    create(server, "latin", "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with server.connect("latin") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier("é")))

    with server.connect() as connection:
        assert tuple(read_databases(connection)) == ("latin", "postgres", "\ufffd")
    with server.connect("latin") as connection:
        connection.execute("SET client_encoding = 'UTF8'")
        assert tuple(read_databases(connection)) == ("latin", "postgres", "é")


def test_the_query_fills_its_row(server: PostgresServer) -> None:
    with server.connect() as connection:
        cursor = connection.execute(query_text("databases", server_version_num=server.version_num))

        assert cursor.description is not None
        assert tuple(column.name for column in cursor.description) == column_names(DatabaseRow)


def test_without_patterns_the_server_is_not_asked() -> None:
    named = Database("a", SecretStr("host=127.0.0.1 port=1"))

    assert find_databases(Target("one", (named,))) == (named,)


def test_a_server_that_does_not_answer_is_an_error() -> None:
    nowhere = Database("postgres", SecretStr("host=127.0.0.1 port=1 user=u"))

    with pytest.raises(TargetUnreachable):
        find_databases(Target("one", (), (DatabasePattern("*"),), nowhere))
