"""What must hold before anything is touched: pass, fail or unknown, with the fact seen and the mend.

Asks the server and the tables; changes nothing. Any failed finding stops the run before its first step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import ConnectionInfo

from exporter.model import Finding, Manifest, RelationName, Verdict, quote_identifier
from exporter.postgres.catalog import TableFacts, read_table
from exporter.postgres.target import Connection, fetch_version

# 14.0 to 14.3 could corrupt an index built concurrently (fixed in 14.4).
_CORRUPTING_VERSIONS = range(140000, 140004)
_SERVER = "the server"


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What the session may do. Source: pg_is_in_recovery(), has_database_privilege(), pg_has_role()."""

    server_version_num: int
    in_recovery: bool
    read_only: bool
    may_create_temporary: bool
    may_read_all_stats: bool
    track_counts: bool
    backend_pid: int
    usename: str


def check_before_build(connection: Connection, manifest: Manifest) -> tuple[Finding, ...]:
    """Findings about server, session and every declared table."""
    rows = fetch_version(connection, "session_facts", SessionFacts, connection.info.server_version)
    session = rows[0]
    findings = list(_session_findings(session, connection.info))
    declared_on = dict.fromkeys(index.table for index in manifest.indexes)
    usename = quote_identifier(session.usename)
    for table in (*declared_on, *(table for table in manifest.analyze if table not in declared_on)):
        facts = read_table(connection, table)
        if facts is not None:
            judge = _built_on if table in declared_on else _analyzed
            findings += judge(table, facts, usename)
    return tuple(findings)


def _session_findings(session: SessionFacts, info: ConnectionInfo) -> Iterator[Finding]:
    version = session.server_version_num
    usename, datname = quote_identifier(session.usename), quote_identifier(info.dbname)
    is_direct = session.backend_pid == info.backend_pid
    yield _finding(
        "version",
        "corrupting_version",
        _SERVER,
        version not in _CORRUPTING_VERSIONS,
        f"PostgreSQL {version // 10000}.{version % 10000}",
        "upgrade to 14.4 or newer: builds of this version could leave a corrupt index",
    )
    yield _finding(
        "primary",
        "standby",
        _SERVER,
        not session.in_recovery,
        "a standby" if session.in_recovery else "a primary",
        "connect to the primary",
    )
    yield _finding(
        "writable",
        "read_only",
        _SERVER,
        session.in_recovery or not session.read_only,
        "transactions are read-only" if session.read_only else "transactions may write",
        f"as a superuser: ALTER ROLE {usename} SET default_transaction_read_only = off",
    )
    yield _finding(
        "direct connection",
        "pooler",
        _SERVER,
        is_direct,
        "one server process serves the session"
        if is_direct
        else "a pooler stands between: the session changes its server process",
        "connect to PostgreSQL itself, not through the pooler",
    )
    yield _finding(
        "temporary tables",
        "no_temporary_tables",
        _SERVER,
        session.may_create_temporary,
        "allowed" if session.may_create_temporary else "not allowed",
        f"GRANT TEMPORARY ON DATABASE {datname} TO {usename}: declarations are compiled on an empty clone",
    )
    yield _finding(
        "statistics collector",
        "track_counts_off",
        _SERVER,
        session.track_counts,
        "track_counts is on" if session.track_counts else "track_counts is off",
        f"ALTER ROLE {usename} RESET track_counts: ANALYZE reports through it",
    )
    yield Finding(
        "sees other sessions",
        _SERVER,
        Verdict.PASS if session.may_read_all_stats else Verdict.UNKNOWN,
        "ok" if session.may_read_all_stats else "not_permitted",
        "member of pg_read_all_stats"
        if session.may_read_all_stats
        else "not a member of pg_read_all_stats: blockers stay nameless",
        None if session.may_read_all_stats else f"GRANT pg_read_all_stats TO {usename}",
    )


def _built_on(table: RelationName, facts: TableFacts, usename: str) -> Iterator[Finding]:
    yield _finding(
        "ownership",
        "not_owner",
        table.quoted,
        facts.is_owner,
        f"owned by {facts.owner_name}",
        f"GRANT {quote_identifier(facts.owner_name)} TO {usename}, or run as the owner: "
        "only owners create indexes",
    )
    yield _finding(
        "create in schema",
        "no_create",
        table.quoted,
        facts.may_create,
        "CREATE on the schema is " + ("granted" if facts.may_create else "not granted"),
        f"GRANT CREATE ON SCHEMA {quote_identifier(table.schemaname)} TO {usename}",
    )


def _analyzed(table: RelationName, facts: TableFacts, usename: str) -> Iterator[Finding]:
    yield _finding(
        "may analyze",
        "not_owner",
        table.quoted,
        facts.may_analyze,
        f"owned by {facts.owner_name}",
        f"GRANT {quote_identifier(facts.owner_name)} TO {usename}: the server would skip it with a warning",
    )


def _finding(criterion: str, reason: str, subject: str, holds: bool, found: str, mend: str) -> Finding:
    return Finding(
        criterion,
        subject,
        Verdict.PASS if holds else Verdict.FAIL,
        "ok" if holds else reason,
        found,
        None if holds else mend,
    )
