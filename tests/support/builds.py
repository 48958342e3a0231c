"""Databases of the change line's tests: as the product sees them, and builds held where a test wants them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Thread

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from exporter.migrate.observe.indexes import observe
from exporter.model import Database, Manifest, ObservedIndex
from exporter.postgres.journal import CreatedIndex, Journal, Phase
from exporter.postgres.target import SessionLimits, connect
from exporter.secret import SecretStr
from tests.conftest import TestDatabase
from tests.support.postgres_server import Connection, Statement
from tests.support.waiting import wait_for

INDEXES = """
    SELECT c.relname::text, i.indisvalid
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_class t ON t.oid = i.indrelid
    WHERE t.relnamespace::regnamespace::text !~ '^pg_' AND NOT i.indisprimary
    ORDER BY 1
"""


SHOP = """
    CREATE TABLE messages AS
    SELECT g AS id, g % 10 AS sender_id, md5(g::text) AS content, 'open'::text AS status,
        now() - g * interval '1 minute' AS created_at, NULL::timestamptz AS deleted_at
    FROM generate_series(1, 1000) g
"""


def fill_shop(database: TestDatabase) -> None:
    """Makes the tables messages (1,000 rows, 10 senders) and posts (500 rows)."""
    database.execute(SHOP)
    database.execute("CREATE TABLE posts AS SELECT * FROM messages WHERE id <= 500")
    database.execute("ANALYZE")


def as_declared(database: TestDatabase, user: str | None = None, password: str | None = None) -> Database:
    """The database as the product's settings would give it."""
    dsn = database.server.dsn(database.name, user, password)
    return Database(database.name, SecretStr(dsn))


@contextmanager
def session(database: TestDatabase) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A session as the commands of the change line open it."""
    limits = SessionLimits(lock_timeout_seconds=10)
    with connect(as_declared(database), read_only=False, limits=limits) as connection:
        yield connection


@contextmanager
def journal_of(
    database: TestDatabase, migration: str = "001_test", run: str = "0badcafe"
) -> Iterator[Journal]:
    """A journal in public, made where it is missing."""
    with session(database) as connection:
        journal = Journal(connection, "public", migration, run)
        journal.ensure()
        yield journal


def look_at(database: TestDatabase, manifest: Manifest, *ours: str) -> tuple[ObservedIndex, ...]:
    """Where the declared indexes stand; `ours` are the names that the journal would know."""
    with session(database) as connection:
        return observe(connection, manifest, {name: created(name) for name in ours})


def created(name: str) -> CreatedIndex:
    """An index that the journal knows to be built by this tool."""
    at = datetime(2026, 8, 20, 14, 3, 11, tzinfo=UTC)
    return CreatedIndex(name, Phase.CATALOG_OK, None, "0badcafe", at)


def indexes_of(database: TestDatabase) -> dict[str, bool]:
    """Every index that is no primary key, by its name, and whether it is valid."""
    return dict(database.execute(INDEXES))


@contextmanager
def writer(database: TestDatabase, table: str = "messages") -> Iterator[Connection]:
    """A session with an open transaction that wrote to the table: concurrent builds on it wait."""
    with database.connect() as connection:
        connection.execute("SET application_name = 'a writer'")
        connection.execute("BEGIN")
        connection.execute(sql.SQL("DELETE FROM {} WHERE false").format(sql.Identifier(table)))
        yield connection
        connection.execute("ROLLBACK")


def waiting_build(database: TestDatabase, application_name: str | None = None) -> int:
    """The process of a build that waits for a writer, once there is one."""

    def look() -> int | None:
        rows = database.execute(
            """
            SELECT p.pid
            FROM pg_stat_progress_create_index p
            JOIN pg_stat_activity a ON a.pid = p.pid
            WHERE p.datname = current_database() AND p.phase LIKE 'waiting for writers%%'
                AND a.wait_event_type = 'Lock'
                AND (%(name)s::text IS NULL OR a.application_name LIKE %(name)s || '%%')
            """,
            {"name": application_name},
        )
        return rows[0][0] if rows else None

    return wait_for("a build that waits for a writer", look)


def waiting_drop(database: TestDatabase) -> int:
    """The process of a concurrent drop that waits for other sessions, once there is one."""

    def look() -> int | None:
        rows = database.execute(
            """
            SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'DROP INDEX CONCURRENTLY%'
                AND state = 'active' AND wait_event_type = 'Lock'
            """
        )
        return rows[0][0] if rows else None

    return wait_for("a drop that waits", look)


@contextmanager
def reader(database: TestDatabase, table: str = "messages") -> Iterator[Connection]:
    """A session with an open transaction that read the table: drops on it wait, builds do not."""
    with database.connect() as connection:
        connection.execute("SET application_name = 'a reader'")
        connection.execute("BEGIN")
        connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        yield connection
        connection.execute("ROLLBACK")


@contextmanager
def executing(dsn: str, statement: Statement) -> Iterator[int]:
    """The process that works on a statement beside the test; at the end it is cancelled."""
    ended: list[psycopg.Error] = []
    with psycopg.connect(dsn, autocommit=True) as connection:

        def execute() -> None:
            # It ends by the cancel below, or well when the test let it go on.
            try:
                connection.execute(statement)
            except psycopg.errors.QueryCanceled as error:
                ended.append(error)

        thread = Thread(target=execute)
        thread.start()
        try:
            yield connection.info.backend_pid
        finally:
            connection.cancel_safe()
            thread.join()


@contextmanager
def held_build(
    database: TestDatabase, statement: Statement, application_name: str, table: str = "messages"
) -> Iterator[int]:
    """The process of a concurrent build that waits for a writer; at the end it is cancelled."""
    dsn = make_conninfo(database.dsn, application_name=application_name)
    with writer(database, table), executing(dsn, statement):
        yield waiting_build(database, application_name)


def leave_invalid(database: TestDatabase, statement: Statement, table: str = "messages") -> None:
    """Leaves an INVALID index behind, as a build does that is cancelled."""
    with held_build(database, statement, "somebody", table):
        pass
