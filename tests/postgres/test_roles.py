"""The two roles of deploy/sql may what they need and nothing else, as psql makes them."""

import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from exporter.postgres.journal import EventStatus, Journal, Phase
from tests.conftest import OwnServer, TestDatabase
from tests.support.postgres_server import Connection, PostgresServer
from tests.support.roles import PASSWORD, make_role, run_script

TABLES = "{messages,app.posts}"
# Beyond the histogram: to plan it PostgreSQL looks into the index itself, and idx_scan counts that.
PLANNED_WITH_INDEX = "EXPLAIN SELECT count(*) FROM messages WHERE id > 1000000"


@pytest.fixture
def app_database(database: TestDatabase) -> Iterator[TestDatabase]:
    """A database whose tables belong to app_owner, an ordinary role."""
    _drop_roles(database.server)
    database.execute("CREATE ROLE app_owner")
    database.execute("CREATE EXTENSION pg_stat_statements")
    database.execute("CREATE SCHEMA app")
    database.execute(
        "CREATE TABLE messages AS SELECT g AS id, g % 100 AS sender_id FROM generate_series(1, 5000) g"
    )
    database.execute("CREATE TABLE app.posts AS SELECT * FROM messages")
    database.execute("CREATE TABLE salaries (amount int)")
    database.execute("CREATE INDEX messages_id ON messages (id)")
    for table in ("messages", "app.posts", "salaries"):
        database.execute(sql.SQL(f"ALTER TABLE {table} OWNER TO app_owner"))
    database.execute("ANALYZE")
    yield database
    database.server.drop_database(database.name)
    _drop_roles(database.server)


def _drop_roles(server: PostgresServer) -> None:
    for role in ("index_monitor", "index_builder", 'Über"wacher', "app_owner", "admin"):
        server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.fixture
def monitor(app_database: TestDatabase) -> Iterator[Connection]:
    """A session of the monitor role."""
    assert make_role(app_database, "monitor.sql", "index_monitor", TABLES) == ""
    with app_database.connect("index_monitor", PASSWORD) as connection:
        yield connection


@pytest.fixture
def builder(app_database: TestDatabase) -> Iterator[Connection]:
    """A session of the builder role."""
    assert make_role(app_database, "builder.sql", "index_builder", TABLES) == ""
    with app_database.connect("index_builder", PASSWORD) as connection:
        yield connection


def test_monitor_sees_the_indexes_and_the_statements_of_others(
    app_database: TestDatabase, monitor: Connection
) -> None:
    app_database.execute("SELECT count(*) AS of_somebody_else FROM salaries")

    indexes = monitor.execute("SELECT indexrelname, idx_scan FROM pg_stat_user_indexes").fetchall()
    texts = monitor.execute("SELECT query FROM pg_stat_statements").fetchall()

    assert [name for name, _ in indexes] == ["messages_id"]
    assert any("of_somebody_else" in text for (text,) in texts)


def test_monitor_sees_statements_wherever_the_extension_is(app_database: TestDatabase) -> None:
    app_database.execute("CREATE SCHEMA extensions")
    app_database.execute("ALTER EXTENSION pg_stat_statements SET SCHEMA extensions")

    assert make_role(app_database, "monitor.sql", "index_monitor", TABLES) == ""

    with app_database.connect("index_monitor", PASSWORD) as monitor:
        (count,) = monitor.execute("SELECT count(query) FROM extensions.pg_stat_statements").fetchall()
    assert count > (0,)


def test_monitor_plans_the_declared_tables_only(monitor: Connection) -> None:
    monitor.execute("EXPLAIN SELECT * FROM messages WHERE sender_id = 7")
    monitor.execute("EXPLAIN SELECT * FROM app.posts WHERE sender_id = 7")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        monitor.execute("EXPLAIN SELECT * FROM salaries")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO messages VALUES (1, 1)",
        "DELETE FROM app.posts",
        "CREATE INDEX sneaky ON messages (sender_id)",
        "DROP INDEX messages_id",
        "CREATE TABLE app.sneaky (id int)",
    ],
)
def test_monitor_cannot_write_in_either_mode(monitor: Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        monitor.execute(statement)
    monitor.execute("SET default_transaction_read_only = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        monitor.execute(statement)


def test_reads_of_the_monitor_are_not_counted(app_database: TestDatabase) -> None:
    make_role(app_database, "monitor.sql", "index_monitor", TABLES)
    app_database.execute(PLANNED_WITH_INDEX)
    counted = _scans(app_database, at_least=1)
    app_database.execute("SELECT pg_stat_statements_reset()")

    with app_database.connect("index_monitor", PASSWORD) as connection:
        pid = connection.info.backend_pid
        connection.execute(PLANNED_WITH_INDEX)
        connection.execute("SET enable_seqscan = off")
        connection.execute("SELECT count(*) FROM messages WHERE id < 10")
    _wait_for_end(app_database, pid)

    assert _scans(app_database, at_least=1) == counted
    assert (
        app_database.execute("SELECT query FROM pg_stat_statements WHERE userid = 'index_monitor'::regrole")
        == []
    )


def _scans(database: TestDatabase, at_least: int) -> int:
    """idx_scan of messages_id, once it has reached `at_least`: sessions report when they end."""
    deadline = time.monotonic() + 60
    while True:
        ((scans,),) = database.execute(
            "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'messages_id'"
        )
        if scans >= at_least:
            return int(scans)
        assert time.monotonic() < deadline, f"idx_scan stayed {scans}"
        time.sleep(0.05)


def _wait_for_end(database: TestDatabase, pid: int) -> None:
    """Returns when a session is gone, and with it everything it had to report."""
    deadline = time.monotonic() + 60
    while database.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]):
        assert time.monotonic() < deadline, f"session {pid} does not end"
        time.sleep(0.05)


def test_monitor_reads_the_journal_of_the_builder(
    app_database: TestDatabase, builder: Connection, monitor: Connection
) -> None:
    journal = Journal(builder, "public", "090_quick_win", "run-1")
    journal.ensure()
    journal.append(Phase.DONE, EventStatus.DONE, index_name="idx_messages_sender")

    rows = monitor.execute("SELECT name, index_name, status FROM migration_log").fetchall()

    assert rows == [("090_quick_win", "idx_messages_sender", "done")]


def test_builder_builds_and_drops_on_the_declared_tables(
    app_database: TestDatabase, builder: Connection
) -> None:
    builder.execute("CREATE INDEX CONCURRENTLY idx_messages_sender ON messages (sender_id)")
    builder.execute("CREATE INDEX CONCURRENTLY idx_posts_sender ON app.posts (sender_id)")
    builder.execute("ANALYZE messages")
    builder.execute("CREATE TEMP TABLE empty_clone (LIKE messages INCLUDING ALL)")
    builder.execute("DROP INDEX CONCURRENTLY app.idx_posts_sender")

    assert app_database.execute(
        "SELECT 'idx_messages_sender'::regclass::text, to_regclass('app.idx_posts_sender')"
    ) == [("idx_messages_sender", None)]


def test_builder_counts_so_that_analyze_is_known(builder: Connection) -> None:
    assert builder.execute("SHOW track_counts").fetchone() == ("on",)


def test_builder_sees_who_blocks_it(app_database: TestDatabase, builder: Connection) -> None:
    with app_database.connect() as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE messages IN ROW EXCLUSIVE MODE")
        seen = builder.execute(
            "SELECT state, xact_start IS NOT NULL, query FROM pg_stat_activity WHERE pid = %s",
            [blocker.info.backend_pid],
        ).fetchone()

    assert seen == ("idle in transaction", True, "LOCK TABLE messages IN ROW EXCLUSIVE MODE")


def test_builder_may_not_touch_what_others_own(app_database: TestDatabase, builder: Connection) -> None:
    app_database.execute("CREATE TABLE others (id int)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        builder.execute("CREATE INDEX CONCURRENTLY idx_others ON others (id)")


def test_names_may_hold_anything(app_database: TestDatabase) -> None:
    app_database.execute('CREATE SCHEMA "Größe, {x}"')
    app_database.execute('CREATE TABLE "Größe, {x}"."it\'s ""odd""" (id int)')
    role = 'Über"wacher'

    stderr = make_role(
        app_database,
        "monitor.sql",
        role,
        tables='{messages,"\\"Größe, {x}\\".\\"it\'s \\"\\"odd\\"\\"\\""}',
        journal_schema="Größe, {x}",
    )

    assert stderr == ""
    with app_database.connect(role, PASSWORD) as connection:
        assert connection.execute('SELECT * FROM "Größe, {x}"."it\'s ""odd"""').fetchall() == []
    app_database.execute('DROP OWNED BY "Über""wacher"')


@pytest.mark.parametrize("script", ["monitor.sql", "builder.sql"])
def test_script_without_tables_says_how_to_name_them(app_database: TestDatabase, script: str) -> None:
    result = run_script(app_database, script)

    assert result.returncode == 3
    assert "variable tables is not set" in result.stderr
    assert f"-v tables='{{messages,posts}}' -f {script}" in result.stderr


@pytest.mark.parametrize("script", ["monitor.sql", "builder.sql"])
def test_script_that_fails_leaves_nothing(app_database: TestDatabase, script: str) -> None:
    result = run_script(app_database, script, tables="{messages,no_such_table}")

    assert result.returncode == 3
    assert 'relation "no_such_table" does not exist' in result.stderr
    assert app_database.execute("SELECT FROM pg_roles WHERE rolname LIKE 'index\\_%'") == []


def test_superuser_is_no_monitor(app_database: TestDatabase) -> None:
    result = run_script(app_database, "monitor.sql", tables=TABLES, role="postgres")

    assert result.returncode == 3
    assert "role postgres is a superuser" in result.stderr


def test_builder_is_not_made_a_member_of_a_superuser(app_database: TestDatabase) -> None:
    app_database.execute("CREATE TABLE of_superuser (id int)")

    result = run_script(app_database, "builder.sql", tables="{messages,of_superuser}")

    assert result.returncode == 3
    assert "a superuser owns table of_superuser, owned by postgres" in result.stderr
    assert "ALTER TABLE ... OWNER TO ..." in result.stderr


def test_monitor_is_no_builder(app_database: TestDatabase, monitor: Connection) -> None:
    result = run_script(app_database, "builder.sql", tables=TABLES, role="index_monitor")

    assert result.returncode == 3
    assert "role index_monitor has the setting" in result.stderr


def test_without_superuser_monitor_lacks_only_the_two_settings(app_database: TestDatabase) -> None:
    app_database.execute(f"CREATE ROLE admin LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
    app_database.execute("GRANT pg_monitor, app_owner TO admin WITH ADMIN OPTION")
    app_database.execute("GRANT ALL ON SCHEMA public, app TO admin WITH GRANT OPTION")

    result = run_script(app_database, "monitor.sql", user="admin", tables=TABLES)

    assert result.returncode == 0, result.stderr
    assert "track_counts = off was not set for role index_monitor: this needs a superuser" in result.stderr
    assert "pg_stat_statements.track = none was not set" in result.stderr
    database_role = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'index_monitor'::regrole"
    assert app_database.execute(database_role) == [(["default_transaction_read_only=on"],)]


def test_monitor_on_a_server_without_pg_stat_statements(own_server: OwnServer) -> None:
    server = own_server(settings={"shared_preload_libraries": ""})
    database = TestDatabase(server, server.create_database())
    database.execute("CREATE TABLE messages (id int)")

    stderr = make_role(database, "monitor.sql", "index_monitor", tables="{messages}")

    assert stderr == ""
    with database.connect("index_monitor", PASSWORD) as connection:
        assert connection.execute("SHOW track_counts").fetchone() == ("off",)
        assert connection.execute("SHOW pg_stat_statements.track").fetchone() == ("none",)
