"""Server and session: version, primary, writable, direct, and what the role may do. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.migrate.preflight.findings import SERVER, failed, passed, unknown, warned
from exporter.model import Finding, quote_identifier
from exporter.postgres.server.session_facts import SessionFacts

# 14.0 to 14.3 could corrupt an index built concurrently (fixed in 14.4).
_CORRUPTING_VERSIONS = range(140000, 140004)
_NEWEST_TRIED = 18
_FIRST_WITH_PARAMETER_GRANTS = 150000


def check_session(
    session: SessionFacts, pooling_evidence: str | None, datname: str, *, needs_signal: bool
) -> Iterator[Finding]:
    """One finding for each thing that the session as a whole must have."""
    usename = quote_identifier(session.usename)
    database = quote_identifier(datname)
    yield _version(session.server_version_num)
    if session.in_recovery:
        yield failed("primary", SERVER, "standby", "a standby", "connect to the primary")
    else:
        yield passed("primary", SERVER, "a primary")
    yield _writable(session, usename, database)
    if pooling_evidence is None:
        yield passed("direct connection", SERVER, "one server process serves the session and keeps its state")
    else:
        yield failed(
            "direct connection",
            SERVER,
            "pooler",
            f"a pooler stands between: {pooling_evidence}",
            "connect to PostgreSQL itself, not through the pooler",
        )
    yield from _role(session, usename, database, needs_signal=needs_signal)


def _version(version: int) -> Finding:
    facts = {"server_version_num": version}
    found = f"PostgreSQL {version // 10000}.{version % 10000}"
    if version in _CORRUPTING_VERSIONS:
        hint = "upgrade to 14.4 or newer: builds of this version could leave a corrupt index"
        return failed("version", SERVER, "corrupting_version", found, hint, **facts)
    if version // 10000 > _NEWEST_TRIED:
        hint = f"try it on a copy first: this tool was tried up to PostgreSQL {_NEWEST_TRIED}"
        return warned("version", SERVER, "untried_version", found, hint, **facts)
    return passed("version", SERVER, found, **facts)


def _writable(session: SessionFacts, usename: str, database: str) -> Finding:
    if session.in_recovery:
        return passed("writable", SERVER, "not asked of a standby")
    if session.read_only:
        hint = f"as a superuser: ALTER ROLE {usename} SET default_transaction_read_only = off"
        return failed("writable", SERVER, "read_only", "transactions are read-only", hint)
    if session.read_only_default and not session.read_only_of_role:
        return failed(
            "writable",
            SERVER,
            "read_only_default",
            "default_transaction_read_only is on for everybody here: somebody stopped all writing, perhaps "
            "because a volume is full",
            f"find out why; then ALTER DATABASE {database} RESET default_transaction_read_only, or "
            "ALTER SYSTEM RESET default_transaction_read_only and reload",
        )
    if session.read_only_default:
        return warned(
            "writable",
            SERVER,
            "read_only_role",
            f"default_transaction_read_only is on for the role {usename}; its sessions here switch it off",
            f"build with a role that is meant to write, or ALTER ROLE {usename} RESET "
            "default_transaction_read_only",
        )
    return passed("writable", SERVER, "transactions may write")


def _role(session: SessionFacts, usename: str, database: str, *, needs_signal: bool) -> Iterator[Finding]:
    if session.may_create_temporary:
        yield passed("temporary tables", SERVER, "allowed")
    else:
        yield failed(
            "temporary tables",
            SERVER,
            "no_temporary_tables",
            "not allowed",
            f"GRANT TEMPORARY ON DATABASE {database} TO {usename}: "
            "declarations are compiled on an empty clone",
        )
    if session.track_counts:
        yield passed("statistics collector", SERVER, "track_counts is on")
    else:
        hint = f"ALTER ROLE {usename} RESET track_counts: ANALYZE reports through it"
        yield failed("statistics collector", SERVER, "track_counts_off", "track_counts is off", hint)
    if session.may_read_all_stats:
        yield passed("sees other sessions", SERVER, "member of pg_read_all_stats")
    else:
        yield unknown(
            "sees other sessions",
            SERVER,
            "not_permitted",
            "not a member of pg_read_all_stats: blockers stay nameless",
            f"GRANT pg_read_all_stats TO {usename}",
        )
    if session.may_signal_backend:
        yield passed("may cancel sessions", SERVER, "member of pg_signal_backend")
    elif needs_signal:
        yield failed(
            "may cancel sessions",
            SERVER,
            "not_permitted",
            "not a member of pg_signal_backend, which the policy against blockers needs",
            f"GRANT pg_signal_backend TO {usename}, or wait for blockers instead",
        )
    else:
        found = "not a member of pg_signal_backend, and not needed: blockers are waited for"
        yield passed("may cancel sessions", SERVER, found)
    yield _deadlocks(session, usename, needs_signal=needs_signal)


def _deadlocks(session: SessionFacts, usename: str, *, needs_signal: bool) -> Finding:
    criterion = "may outwait deadlocks"
    if session.may_set_deadlock_timeout:
        return passed(
            criterion, SERVER, "may set deadlock_timeout: who queues behind a build can be ended first"
        )
    found = "may not set deadlock_timeout: who queues behind a build for its table ends the build"
    if session.server_version_num < _FIRST_WITH_PARAMETER_GRANTS:
        return passed(criterion, SERVER, f"{found}; before PostgreSQL 15 only superusers may")
    grant = f"GRANT SET ON PARAMETER deadlock_timeout TO {usename}"
    if not needs_signal:
        return passed(criterion, SERVER, f"{found}; {grant} would give ten seconds to end it")
    hint = f"{grant}: the policies then have ten seconds to end who queues before the build falls"
    return warned(criterion, SERVER, "not_permitted", found, hint)
