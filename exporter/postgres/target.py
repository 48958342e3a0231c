"""One database: connecting with deadlines, and errors that name it.

psycopg's errors become ours here and nowhere else. No message carries a connection string.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row

from exporter.errors import (
    ExporterError,
    TargetDenied,
    TargetError,
    TargetTimedOut,
    TargetUnreachable,
    TargetUnsupported,
)
from exporter.model import Database, quote_identifier
from exporter.settings.model import DEFAULTS

Connection = psycopg.Connection[tuple[Any, ...]]

OLDEST_SUPPORTED = 14
APPLICATION_NAME = "pg-index-exporter"
SET_UP_ATTEMPTS = 10
READ_LOCK_TIMEOUT_SECONDS = 1.0
# What roles and databases can set and what would change answers: names, numbers and definitions (an
# index's predicate shows its constants by these) have to look the same to every role.
SESSION = {
    # Temporary tables last: unnamed, they would come first.
    "search_path": "pg_catalog, pg_temp",
    "default_transaction_isolation": "read committed",
    "idle_in_transaction_session_timeout": "0",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
}


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Deadlines of one session. Units: seconds; None leaves the server's or the role's setting."""

    connect_timeout_seconds: float = DEFAULTS.connect_timeout_seconds
    statement_timeout_seconds: float | None = None
    lock_timeout_seconds: float | None = None


def connect(
    database: Database,
    *,
    application_name: str = APPLICATION_NAME,
    read_only: bool = True,
    limits: SessionLimits | None = None,
) -> Connection:
    """A new autocommit connection with search_path pinned, deadlines set and, by default, read-only.

    Raises: TargetUnreachable, TargetDenied, TargetTimedOut, TargetUnsupported.
    """
    limits = limits or SessionLimits()
    with mapped_errors(database):
        try:
            connection = psycopg.connect(
                make_conninfo(
                    database.conninfo.get_secret_value(),
                    dbname=database.datname,
                    connect_timeout=max(1, round(limits.connect_timeout_seconds)),
                    application_name=application_name[:63],
                    keepalives=1,
                    keepalives_idle=10,
                    keepalives_interval=5,
                    keepalives_count=3,
                    client_encoding="utf8",
                ),
                autocommit=True,
                # A prepared statement would survive on the server side of a transaction pooler.
                prepare_threshold=None,
                row_factory=tuple_row,
            )
        except (OSError, psycopg.OperationalError) as error:
            # libpq does not always say that it had no descriptor, and psycopg waits with its own.
            shortage = error.strerror if isinstance(error, OSError) else _descriptor_shortage()
            if shortage is None:
                raise
            raise TargetUnreachable(
                f"{address(database)} cannot be reached: {shortage}",
                hint="raise the limit of open files of this process, or look what uses them up",
            ) from error
        try:
            _set_up(connection, read_only, limits)
        except BaseException:
            connection.close()
            raise
    return connection


def _descriptor_shortage() -> str | None:
    """Why this process can open no file, or None when it can."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.strerror
    return None


def _set_up(connection: Connection, read_only: bool, limits: SessionLimits) -> None:
    version = connection.info.server_version
    session = {**SESSION, "default_transaction_read_only": "on" if read_only else "off"}
    if version >= 170000:
        session["transaction_timeout"] = "0"
    if limits.statement_timeout_seconds is not None:
        session["statement_timeout"] = str(round(limits.statement_timeout_seconds * 1000))
    if limits.lock_timeout_seconds is not None:
        session["lock_timeout"] = str(round(limits.lock_timeout_seconds * 1000))
    for attempt in range(1, SET_UP_ATTEMPTS + 1):
        try:
            set_session(connection, session)
            break
        except psycopg.errors.QueryCanceled:
            # The role's own statement_timeout holds until this has passed, and can be a millisecond.
            if attempt == SET_UP_ATTEMPTS:
                raise
    major = version // 10000
    if major < OLDEST_SUPPORTED:
        raise TargetUnsupported(
            f"PostgreSQL {major} is older than {OLDEST_SUPPORTED}",
            hint=f"use PostgreSQL {OLDEST_SUPPORTED} or newer",
        )


def set_session(connection: Connection, session: Mapping[str, str], *, local: bool = False) -> None:
    """Sets parameters in one round trip, for the session or, `local`, for the transaction."""
    calls = sql.SQL(", ").join(
        sql.SQL("pg_catalog.set_config({}, {}, {})").format(
            sql.Literal(name), sql.Literal(value), sql.Literal(local)
        )
        for name, value in session.items()
    )
    connection.execute(sql.SQL("SELECT {}").format(calls))


@contextmanager
def bounded_read(connection: Connection, budget_seconds: float) -> Iterator[None]:
    """A transaction that only reads, waits for locks a moment and ends each statement with the budget."""
    session = {
        "transaction_read_only": "on",
        "lock_timeout": str(round(READ_LOCK_TIMEOUT_SECONDS * 1000)),
        # 0 would switch the timeout off.
        "statement_timeout": str(max(1, round(budget_seconds * 1000))),
    }
    with connection.transaction(force_rollback=True):
        set_session(connection, session, local=True)
        yield


def is_direct(connection: Connection) -> bool:
    """Whether one server process serves the session; behind a transaction pooler it changes."""
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    return row is not None and row[0] == connection.info.backend_pid


def address(database: Database) -> str:
    """Return the name of a database with its hosts and ports, without user and password.

    Like libpq, pairs a list of hosts with a list of ports, or all hosts with one port.
    """
    parts = conninfo_to_dict(database.conninfo.get_secret_value())
    hosts = str(parts.get("host") or parts.get("hostaddr") or "local socket").split(",")
    ports = str(parts.get("port") or 5432).split(",")
    pairs = zip(hosts, ports if len(ports) == len(hosts) else ports * len(hosts), strict=False)
    places = ", ".join(f"{f'[{host}]' if ':' in host else host}:{port or 5432}" for host, port in pairs)
    return f"database {database.datname!r} at {places}"


@contextmanager
def mapped_errors(database: Database) -> Iterator[None]:
    """Turns psycopg's errors into ours, most specific first; leaves ours alone."""
    try:
        yield
    except ExporterError:
        raise
    except psycopg.Error as error:
        raise describe_error(database, error) from error


def describe_error(database: Database, error: psycopg.Error) -> TargetError:
    """The error as one of ours, with what to do next and without any secret."""
    where = address(database)
    said = first_line(error)
    code = error.sqlstate or ""
    if code.startswith("28") or "authentication failed" in said or "no password supplied" in said:
        return TargetDenied(
            f"{where} refused the login: {said}",
            hint="check user, password and pg_hba.conf; the password belongs in the file of --dsn-file",
        )
    if code == "3D000" or ("database" in said and "does not exist" in said):
        return TargetDenied(f"{where} does not exist: {said}", hint="check the name of the database")
    if "permission denied for database" in said:
        user = str(conninfo_to_dict(database.conninfo.get_secret_value()).get("user") or "the role")
        name = quote_identifier(database.datname)
        return TargetDenied(
            f"{where} refused the login: {said}",
            hint=f"GRANT CONNECT ON DATABASE {name} TO {quote_identifier(user)}",
        )
    if code == "42501":
        return TargetDenied(
            f"{where}: {said}", hint="grant what is missing; deploy/sql has the two roles that suffice"
        )
    if code in ("57014", "55P03") or isinstance(error, psycopg.errors.ConnectionTimeout):
        return TargetTimedOut(
            f"{where} did not answer in time: {said}", hint="look for locks and load, or raise the limit"
        )
    if isinstance(error, psycopg.OperationalError):
        return TargetUnreachable(
            f"{where} cannot be reached: {said}",
            hint="check that the server runs and that host and port are right",
        )
    return TargetError(f"{where}: {said}", hint="see the server's log for the statement")


def first_line(error: psycopg.Error) -> str:
    """The error's first line: later lines repeat the statement or other attempts to connect."""
    text = str(error.diag.message_primary or error).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    refusals = [line for line in lines if "FATAL" in line]
    return (refusals or lines or [type(error).__name__])[0]
