"""A database on each version, seen by a superuser, the monitor role and nobody, here and on a standby."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import psycopg
import pytest
from psycopg import sql

from exporter.model import Database, DeclaredIndex, Manifest
from exporter.postgres.journal import EventStatus, Journal, Phase
from exporter.secret import SecretStr
from tests.conftest import TestDatabase
from tests.support.builds import session
from tests.support.declared import declare, relation
from tests.support.postgres_server import Connection, PostgresServer, wait_for_replay
from tests.support.roles import PASSWORD, make_role
from tests.support.waiting import wait_for

Node = Literal["primary", "standby"]
RoleName = Literal["superuser", "monitor", "nobody"]
NODES: tuple[Node, ...] = ("primary", "standby")
ROLES: tuple[RoleName, ...] = ("superuser", "monitor", "nobody")

MIGRATION = "090_test"
USED = declare("idx_messages_sender", "messages", "sender_id")
UNUSED = declare("idx_messages_content", "messages", "content")
PARTITIONED = declare("idx_events_at", "events", "at")
ODD = declare('Größe "x"\n<b>', relation('public.it\'s "odd"\n'), "id")
ABSENT = declare("idx_messages_absent", "messages", "id")
PRESENT = (USED, UNUSED, PARTITIONED, ODD)
DECLARED = (*PRESENT, ABSENT)
SCANS = 3
SCAN = "SELECT count(*) FROM messages WHERE sender_id = 7"


@dataclass(frozen=True, slots=True)
class Stage:
    """The database of one version, by its name on the primary and on the standby, and its two roles."""

    primary: PostgresServer
    name: str
    monitor: str
    nobody: str

    def user(self, role: RoleName) -> str:
        """The name of the role on the server."""
        return {"superuser": self.primary.superuser, "monitor": self.monitor, "nobody": self.nobody}[role]


@dataclass(frozen=True, slots=True)
class View:
    """The stage as one role sees it on one node."""

    stage: Stage
    server: PostgresServer
    node: Node
    role: RoleName

    @property
    def database(self) -> TestDatabase:
        """The database, to ask as the superuser."""
        return TestDatabase(self.server, self.stage.name)

    @property
    def dsn(self) -> str:
        """The conninfo of the role."""
        password = None if self.role == "superuser" else PASSWORD
        return self.server.dsn(self.stage.name, self.stage.user(self.role), password)

    def connect(self) -> Connection:
        """A new autocommit session of the role."""
        return psycopg.connect(self.dsn, autocommit=True)

    def described(self) -> Database:
        """The database as settings would describe it to the exporter."""
        manifest = Manifest("m.yaml", MIGRATION, ("public",), (), DECLARED)
        return Database(self.stage.name, SecretStr(self.dsn), (manifest,))


@pytest.fixture(scope="session")
def stage(every_server: PostgresServer) -> Iterator[Stage]:
    """A database with declared indexes of every kind, their journal, statements and two roles."""
    name = every_server.create_database()
    stage = Stage(every_server, name, f"{name}_monitor", f"{name}_nobody")
    database = TestDatabase(every_server, name)
    _create(database)
    _write_journal(database)
    names = sorted({index.table.relname for index in DECLARED})
    array = "SELECT array_agg(oid::regclass)::text FROM pg_class WHERE relname = ANY (%s)"
    ((tables,),) = database.execute(array, [names])
    assert make_role(database, "monitor.sql", stage.monitor, tables) == ""
    nobody = sql.Identifier(stage.nobody)
    database.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(nobody, PASSWORD))
    # Nothing but this: it sees that there are statements, and not which.
    database.execute(sql.SQL("GRANT USAGE ON SCHEMA elsewhere TO {}").format(nobody))
    use_index(database)
    yield stage
    every_server.drop_database(name)
    for role in (stage.monitor, stage.nobody):
        every_server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "node" in metafunc.fixturenames:
        is_local = metafunc.config.getoption("postgres") != "container"
        metafunc.parametrize("node", NODES if is_local else NODES[:1], indirect=True)


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Node:
    """Where the stage is looked at."""
    node: Node = request.param
    return node


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest) -> RoleName:
    """Who looks."""
    role: RoleName = request.param
    return role


@pytest.fixture
def view(request: pytest.FixtureRequest, stage: Stage, node: Node, role: RoleName) -> View:
    """The stage on each node, as each role."""
    if node == "primary":
        return View(stage, stage.primary, node, role)
    standby: PostgresServer = request.getfixturevalue("every_standby")
    wait_for_replay(stage.primary, standby)
    database = TestDatabase(standby, stage.name)
    if _scans(database) == 0:
        use_index(database)
    return View(stage, standby, node, role)


def use_index(database: TestDatabase) -> None:
    """Has the index scanned, and returns when the counters say so."""
    with database.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        for _ in range(SCANS):
            connection.execute(SCAN)
    # Sessions report when they end; before PostgreSQL 15 a collector process writes it down later.
    wait_for("the scans in the statistics", lambda: _scans(database) == SCANS or None)


def _scans(database: TestDatabase) -> int:
    query = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s"
    ((scans,),) = database.execute(query, [USED.name])
    return int(scans)


def _create(database: TestDatabase) -> None:
    database.execute("CREATE SCHEMA elsewhere")
    database.execute("CREATE EXTENSION pg_stat_statements SCHEMA elsewhere")
    # Autovacuum would move the figures between the page and the views that it is compared with.
    quiet = "WITH (autovacuum_enabled = off)"
    database.execute(f"CREATE TABLE messages (id int PRIMARY KEY, sender_id int, content text) {quiet}")
    database.execute("INSERT INTO messages SELECT g, g % 100, 'text ' || g FROM generate_series(1, 1000) g")
    database.execute("UPDATE messages SET content = 'new' WHERE id <= 10")
    database.execute("DELETE FROM messages WHERE id > 990")
    database.execute("CREATE TABLE events (id int, at date) PARTITION BY RANGE (at)")
    database.execute(f"CREATE TABLE events_all PARTITION OF events DEFAULT {quiet}")
    odd = sql.SQL("CREATE TABLE {} (id int)").format(sql.Identifier(ODD.table.relname))
    database.execute(odd + sql.SQL(quiet))
    for index in PRESENT:
        database.execute(create_index(index))
    database.execute("ANALYZE messages")


def create_index(index: DeclaredIndex) -> sql.Composed:
    """What builds the declared index on one column."""
    return sql.SQL("CREATE INDEX {} ON {} ({})").format(
        sql.Identifier(index.name), sql.Identifier(index.table.relname), sql.Identifier(*index.columns)
    )


def _write_journal(database: TestDatabase) -> None:
    with session(database) as connection:
        journal = Journal(connection, "public", MIGRATION, "0badcafe")
        journal.ensure()
        journal.append(Phase.BASELINE, EventStatus.DONE, detail={"probes": []})
        for index in PRESENT:
            oid_and_definition = "SELECT oid::int8, pg_get_indexdef(oid) FROM pg_class WHERE relname = %s"
            ((oid, definition),) = database.execute(oid_and_definition, [index.name])
            journal.append(
                Phase.CATALOG_OK,
                EventStatus.DONE,
                index_name=index.name,
                definition=definition.replace(" ON ONLY ", " ON "),
                detail={"indexrelid": oid},
            )
