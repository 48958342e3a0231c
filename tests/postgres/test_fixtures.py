"""The servers that all other tests stand on do what the fixtures promise."""

import psycopg
import pytest

from tests.conftest import OwnServer, TestDatabase
from tests.support.postgres_server import Kind, PostgresServer, wait_for_replay


def test_server_wants_its_password(server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.dsn(password="wrong"))


def test_server_collects_statements(database: TestDatabase) -> None:
    database.execute("CREATE EXTENSION pg_stat_statements")

    assert database.execute("SELECT count(*) > 0 FROM pg_stat_statements") == [(True,)]


def test_database_is_a_clone_of_its_template(server: PostgresServer, database: TestDatabase) -> None:
    database.execute("CREATE TABLE messages AS SELECT generate_series(1, %s) AS id", [3])

    clone = server.create_database(database.name)

    assert server.execute("SELECT sum(id) FROM messages", clone) == [(6,)]
    server.drop_database(clone)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        server.connect(clone)


def test_own_server_keeps_its_data_over_stop_and_kill(own_server: OwnServer) -> None:
    server = own_server(settings={"fsync": "on", "work_mem": "5MB"})
    server.execute("CREATE TABLE messages AS SELECT 1 AS id")

    server.stop()
    with pytest.raises(psycopg.OperationalError):
        server.connect()
    server.start()
    server.kill()
    server.start()

    assert server.execute("SELECT id FROM messages") == [(1,)]
    assert server.execute("SHOW work_mem") == [("5MB",)]
    assert "automatic recovery in progress" in server.log()


def test_own_server_frozen_and_thawed(own_server: OwnServer) -> None:
    server = own_server()
    connection = server.connect()

    server.freeze()
    try:
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            psycopg.connect(server.dsn(), connect_timeout=2)
    finally:
        server.thaw()

    assert connection.execute("SELECT 1").fetchall() == [(1,)]
    connection.close()


def test_nova_database_is_loaded_and_without_extra_indexes(nova_database: TestDatabase) -> None:
    [(messages, posts)] = nova_database.execute(
        "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM posts)"
    )
    extra = (
        "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'messages'::regclass AND NOT indisprimary"
    )
    analyzed = """
        SELECT bool_and(reltuples >= 0) FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    """

    assert (messages, posts) == (20_000, 8_000)
    assert nova_database.execute(extra) == []
    assert nova_database.execute(analyzed) == [(True,)]


def test_every_server_is_of_the_version_that_it_stands_for(
    every_version: Kind, every_server: PostgresServer
) -> None:
    if every_version.isdigit():
        assert every_server.version_num // 10000 == int(every_version)
    assert every_server.execute("SHOW shared_preload_libraries") == [("pg_stat_statements",)]


def test_every_standby_follows_its_primary(
    every_database: TestDatabase, every_standby: PostgresServer
) -> None:
    every_database.execute("CREATE TABLE messages AS SELECT 1 AS id")
    wait_for_replay(every_database.server, every_standby)

    assert every_standby.execute("SELECT pg_is_in_recovery()") == [(True,)]
    assert every_standby.execute("SELECT id FROM messages", every_database.name) == [(1,)]
    assert every_standby.version_num == every_database.server.version_num


def test_own_standby_is_promoted_when_its_primary_is_gone(
    every_version: Kind, own_server: OwnServer, own_standby: OwnServer
) -> None:
    primary = own_server(kind=every_version)
    standby = own_standby(primary)
    primary.kill()

    assert standby.execute("SELECT pg_promote()") == [(True,)]
    standby.execute("CREATE TABLE messages AS SELECT 1 AS id")
    assert standby.execute("SELECT id FROM messages") == [(1,)]


@pytest.mark.pg(">= 14")
def test_version_mark_lets_a_new_server_through(server: PostgresServer) -> None:
    assert server.version_num >= 140000
