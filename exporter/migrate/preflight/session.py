"""Server and session: version, primary, writable, direct, and the rights of the role. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.migrate.preflight.findings import SERVER, failed, passed, unknown, warned
from exporter.model import Finding, quote_identifier
from exporter.postgres.server.session_facts import SessionFacts

# 14.0 to 14.3 could corrupt an index built concurrently (fixed in 14.4).
_CORRUPTING_VERSIONS = range(140000, 140004)
_NEWEST_TESTED = 18
_FIRST_WITH_PARAMETER_GRANTS = 150000
_USE_BUILDER = "use the builder's connection: the role that deploy/sql/builder.sql creates"


def check_session(
    session: SessionFacts, pooling_evidence: str | None, datname: str, *, needs_signal: bool
) -> Iterator[Finding]:
    """One finding for each requirement on the server and the session.

    Of the monitor role only the role itself is judged: it lacks every other right on purpose.
    """
    usename = quote_identifier(session.usename)
    database = quote_identifier(datname)
    yield _version(session.server_version_num)
    if session.in_recovery:
        yield failed("primary", SERVER, "standby", "a standby", "connect to the primary")
    else:
        yield passed("primary", SERVER, "a primary")
    if pooling_evidence is None:
        yield passed("direct connection", SERVER, "one server process serves the session and keeps its state")
    else:
        yield failed(
            "direct connection",
            SERVER,
            "pooler",
            f"a pooler is between this tool and the server: {pooling_evidence}",
            "connect to PostgreSQL itself, not through the pooler",
        )
    if session.is_monitor:
        found = f"{usename} is a monitor role: read-only, and its statistics are not counted"
        yield failed("role", SERVER, "monitor_role", found, _USE_BUILDER)
        return
    yield passed("role", SERVER, f"{usename} is not a monitor role")
    yield _writable(session, usename, database)
    yield from _role(session, usename, database, needs_signal=needs_signal)


def _version(version: int) -> Finding:
    facts = {"server_version_num": version}
    found = f"PostgreSQL {version // 10000}.{version % 10000}"
    if version in _CORRUPTING_VERSIONS:
        found += ": concurrent builds of this version can leave a corrupt index"
        return failed("version", SERVER, "corrupting_version", found, "upgrade to 14.4 or newer", **facts)
    if version // 10000 > _NEWEST_TESTED:
        found += f": this tool was tested up to PostgreSQL {_NEWEST_TESTED}"
        return warned("version", SERVER, "untried_version", found, "test it on a copy first", **facts)
    return passed("version", SERVER, found, **facts)


def _writable(session: SessionFacts, usename: str, database: str) -> Finding:
    if session.in_recovery:
        return passed("writable", SERVER, "not checked on a standby")
    if session.read_only:
        return failed("writable", SERVER, "read_only", "transactions are read-only", _USE_BUILDER)
    if session.read_only_default and not session.read_only_of_role:
        return failed(
            "writable",
            SERVER,
            "read_only_default",
            "default_transaction_read_only is on for every role: an administrator stopped all writes, "
            "perhaps because a volume is full",
            "find out why first; then, if it is set for the database: "
            f"ALTER DATABASE {database} RESET default_transaction_read_only",
        )
    if session.read_only_default:
        found = f"default_transaction_read_only is on for the role {usename}; init switches it off for itself"
        return warned("writable", SERVER, "read_only_role", found, _USE_BUILDER)
    return passed("writable", SERVER, "transactions can write")


def _role(session: SessionFacts, usename: str, database: str, *, needs_signal: bool) -> Iterator[Finding]:
    if session.may_create_temporary:
        yield passed("temporary tables", SERVER, "allowed")
    else:
        yield failed(
            "temporary tables",
            SERVER,
            "no_temporary_tables",
            "not allowed; declarations are compiled on an empty temporary table",
            f"GRANT TEMPORARY ON DATABASE {database} TO {usename}",
        )
    if session.track_counts:
        yield passed("statistics collector", SERVER, "track_counts is on")
    else:
        found = "track_counts is off: the server would not record ANALYZE"
        yield failed("statistics collector", SERVER, "track_counts_off", found, _USE_BUILDER)
    if session.may_read_all_stats:
        yield passed("sees other sessions", SERVER, "member of pg_read_all_stats")
    else:
        yield unknown(
            "sees other sessions",
            SERVER,
            "not_permitted",
            "not a member of pg_read_all_stats: blockers cannot be named",
            f"GRANT pg_read_all_stats TO {usename}",
        )
    if session.may_signal_backend:
        yield passed("may cancel sessions", SERVER, "member of pg_signal_backend")
    elif needs_signal:
        yield failed(
            "may cancel sessions",
            SERVER,
            "not_permitted",
            "not a member of pg_signal_backend, which the chosen policy requires",
            f"GRANT pg_signal_backend TO {usename}",
        )
    else:
        found = "not a member of pg_signal_backend, and not needed: builds wait for blockers"
        yield passed("may cancel sessions", SERVER, found)
    yield _deadlocks(session, usename, needs_signal=needs_signal)


def _deadlocks(session: SessionFacts, usename: str, *, needs_signal: bool) -> Finding:
    criterion = "may outwait deadlocks"
    if session.may_set_deadlock_timeout:
        found = "can set deadlock_timeout: a session queued for the table can be cancelled before a deadlock"
        return passed(criterion, SERVER, found)
    found = "cannot set deadlock_timeout: a session queued for the table can kill the build by deadlock"
    if session.server_version_num < _FIRST_WITH_PARAMETER_GRANTS:
        return passed(criterion, SERVER, f"{found}; before PostgreSQL 15 only superusers can")
    grant = f"GRANT SET ON PARAMETER deadlock_timeout TO {usename}"
    if not needs_signal:
        return passed(criterion, SERVER, f"{found}; {grant} gives ten seconds to cancel it")
    return warned(
        criterion, SERVER, "not_permitted", f"{found}; with it there are ten seconds to cancel it", grant
    )
