"""Try everything that `serve` will need: the settings' files, its address, every target and database."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg

from exporter.errors import (
    Fault,
    SettingsError,
    TargetDenied,
    TargetError,
    TargetTimedOut,
    TargetUnreachable,
    TargetUnsupported,
)
from exporter.metrics.check.findings import SERVER, Observed, Wanted, judge, judged
from exporter.metrics.web import server
from exporter.metrics.web.config import load_web_config
from exporter.metrics.web.healthcheck import check_health
from exporter.model import Database, DatabasePattern, Finding, Target, Verdict
from exporter.postgres.counters.indexes import index_count
from exporter.postgres.counters.journal import journal_definitions, journal_relations
from exporter.postgres.requests import ask
from exporter.postgres.server.discovery import find_databases
from exporter.postgres.server.rights import read_role_facts, read_table_rights
from exporter.postgres.target import Connection, SessionLimits, address, connect, mapped_errors
from exporter.settings.binding import resolve_targets
from exporter.settings.connection.conninfo import parse_dsn
from exporter.settings.model import Settings

SETTINGS = "settings"
MOST_THREADS = 8
UNREACHABLE_EXIT_CODE = TargetError.exit_code
FAILED_EXIT_CODE = 1
_REASONS: tuple[tuple[type[TargetError], str], ...] = (
    (TargetDenied, "denied"),
    (TargetTimedOut, "timed_out"),
    (TargetUnsupported, "unsupported"),
    (TargetUnreachable, "unreachable"),
)


@dataclass(frozen=True, slots=True)
class DatabaseCheck:
    """The findings of one database of a target; `server_version` is None when it did not answer."""

    target: str
    datname: str
    address: str
    server_version: str | None
    findings: tuple[Finding, ...]

    @property
    def answered(self) -> bool:
        """True when the database could be queried."""
        return self.server_version is not None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The findings of the exporter itself and of each database."""

    findings: tuple[Finding, ...]
    databases: tuple[DatabaseCheck, ...]

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """The findings of the exporter and of all databases."""
        return (*self.findings, *(finding for database in self.databases for finding in database.findings))

    @property
    def exit_code(self) -> int:
        """0: nothing failed, 1: something failed, 4: a database did not answer."""
        if not all(database.answered for database in self.databases):
            return UNREACHABLE_EXIT_CODE
        is_failed = any(finding.verdict is Verdict.FAIL for finding in self.all_findings)
        return FAILED_EXIT_CODE if is_failed else 0


def check(settings: Settings) -> CheckResult:
    """Try the exporter and everything that it is to watch once. Changes nothing.

    Raises: SettingsError, with all faults of settings, manifests and web configuration.
    """
    targets = _validated(settings)
    with ThreadPoolExecutor(MOST_THREADS) as threads:
        checks = list(threads.map(lambda target: _check_target(target, settings), targets))
    return CheckResult(
        tuple(_exporter_findings(settings, targets)), tuple(one for found in checks for one in found)
    )


def _validated(settings: Settings) -> tuple[Target, ...]:
    faults: list[Fault] = []
    targets: tuple[Target, ...] = ()
    errors: list[SettingsError] = []
    try:
        targets = resolve_targets(settings)
    except SettingsError as error:
        errors.append(error)
    if settings.web_config_file is not None:
        try:
            load_web_config(Path(settings.web_config_file))
        except SettingsError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    faults = [fault for error in errors for fault in error.faults]
    if faults:
        raise SettingsError("; ".join(error.what for error in errors), faults=faults)
    return targets


# ------------------------------------------------------------------ the exporter itself


def _exporter_findings(settings: Settings, targets: Sequence[Target]) -> list[Finding]:
    return [
        _manifests(targets),
        judged(
            "variables of libpq",
            SETTINGS,
            not settings.ignored_variables,
            f"{', '.join(settings.ignored_variables)}: set but ignored, because the settings name a server"
            if settings.ignored_variables
            else "none is ignored",
            reason="ignored",
            hint="unset them, or name no server in the settings",
            otherwise=Verdict.UNKNOWN,
        ),
        _command_line(settings),
        _listen_address(settings),
    ]


def _manifests(targets: Sequence[Target]) -> Finding:
    holders: list[Database | DatabasePattern] = []
    for target in targets:
        holders += (*target.databases, *target.patterns)
    bound = [manifest.migration for holder in holders for manifest in holder.manifests]
    watches = {holder.watch for holder in holders}
    return judged(
        "something is watched",
        SETTINGS,
        bool(bound) or watches != {"declared"},
        ", ".join(dict.fromkeys(bound))
        if bound
        else "no manifest is bound"
        if watches == {"declared"}
        else "indexes by pattern",
        reason="nothing_declared",
        hint="name a manifest with --manifest FILE, or watch undeclared indexes too with --watch all",
    )


def _command_line(settings: Settings) -> Finding:
    is_given = settings.dsn is not None and settings.place("dsn") == "--dsn"
    shows = is_given and settings.dsn is not None and "password" in parse_dsn(settings.dsn.get_secret_value())
    return judged(
        "no password on the command line",
        SETTINGS,
        not shows,
        "every user of this machine can read it in the process list" if shows else "none",
        reason="visible",
        hint="use PG_INDEX_EXPORTER_DSN, or a file: --dsn-file",
    )


def _listen_address(settings: Settings) -> Finding:
    where = settings.web_listen_address
    try:
        server.listen(where).close()
    except SettingsError as error:
        file = settings.web_config_file
        if check_health(where, web_config_file=Path(file) if file is not None else None):
            return Finding(
                "listen address", SETTINGS, Verdict.PASS, "ok", f"an exporter answers on {where} already"
            )
        return Finding("listen address", SETTINGS, Verdict.FAIL, "not_available", error.what, error.hint)
    return Finding("listen address", SETTINGS, Verdict.PASS, "ok", f"{where} is free")


# ------------------------------------------------------------------ targets


def _check_target(target: Target, settings: Settings) -> list[DatabaseCheck]:
    limits = _limits(settings)
    databases = target.databases
    checks: list[DatabaseCheck] = []
    if target.maintenance is not None:
        try:
            databases = find_databases(target, limits=limits)
        except TargetError as error:
            checks.append(_unanswered(target, target.maintenance, error))
        else:
            # Its databases show its version.
            checks.append(
                _answered(target, target.maintenance, "", (_matching(target, databases, settings),))
            )
    return [*checks, *(_check_database(target, database, settings) for database in databases)]


def _matching(target: Target, databases: Sequence[Database], settings: Settings) -> Finding:
    """Which databases the target's patterns match now."""
    found = len(databases) - len(target.databases)
    patterns = ", ".join(pattern.pattern for pattern in target.patterns)
    if found == 0:
        return Finding(
            "patterns match",
            SERVER,
            Verdict.UNKNOWN,
            "no_database",
            f"no database matches {patterns}",
            "correct the pattern, or create the database; the next scrape discovers it",
        )
    return judged(
        "at most max_databases",
        SERVER,
        found <= settings.max_databases,
        f"{found} match {patterns}, {settings.max_databases} are published",
        reason="cut",
        hint=f"--max-databases {found}, or a narrower pattern",
    )


def _check_database(target: Target, database: Database, settings: Settings) -> DatabaseCheck:
    wanted = Wanted(
        database.datname,
        database.manifests,
        settings.journal_schema,
        with_statements=settings.max_statements > 0,
        max_indexes=settings.max_indexes,
    )
    try:
        with mapped_errors(database), closing(connect(database, limits=_limits(settings))) as connection:
            observed = _observe(connection, database, wanted)
    except TargetError as error:
        return _unanswered(target, database, error)
    return _answered(target, database, observed.server_version, judge(wanted, observed))


def _observe(connection: Connection, database: Database, wanted: Wanted) -> Observed:
    schema = wanted.journal_schema
    journal = ask(connection, journal_relations(schema))
    definitions = None
    if wanted.manifests and any(
        relation.relname == "migration_events" and relation.is_readable_journal for relation in journal
    ):
        try:
            migrations = [manifest.migration for manifest in wanted.manifests]
            definitions = ask(connection, journal_definitions(schema, migrations))
        except psycopg.errors.ProgrammingError:
            # Not readable: another finding says so.
            definitions = None
    declared = [index.relation for index in database.declared]
    is_more = database.watch != "declared"
    return Observed(
        connection.info.parameter_status("server_version") or "",
        read_role_facts(connection, schema),
        read_table_rights(connection, wanted.tables),
        journal,
        definitions,
        watched=ask(connection, index_count(declared, database.watch))[0].indexes if is_more else None,
    )


def _answered(
    target: Target, database: Database, server_version: str, findings: tuple[Finding, ...]
) -> DatabaseCheck:
    return DatabaseCheck(target.name, database.datname, address(database), server_version, findings)


def _unanswered(target: Target, database: Database, error: TargetError) -> DatabaseCheck:
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), "failed")
    finding = Finding("answers", SERVER, Verdict.FAIL, reason, error.what, error.hint)
    return DatabaseCheck(target.name, database.datname, address(database), None, (finding,))


def _limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        connect_timeout_seconds=settings.connect_timeout_seconds,
        statement_timeout_seconds=settings.scrape_timeout_seconds,
        lock_timeout_seconds=settings.scrape_timeout_seconds,
    )
