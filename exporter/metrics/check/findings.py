"""What the exporter needs of a database, compared with what it has. Pure.

Fail: something that the settings ask for is missing from the page. Unknown: the page is complete, but
something on it cannot be distinguished, or does not exist yet. SQL in a hint runs as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.model import Finding, Manifest, RelationName, Verdict, quote_identifier
from exporter.postgres.counters.journal import JournalDefinition
from exporter.postgres.journal import JournalRelation
from exporter.postgres.server.rights import RoleFacts, TableRights

SERVER = "server"
STATEMENTS = "pg_stat_statements"
INDEXES = "watched indexes"
OLDEST_STATEMENTS = (1, 8)
STATEMENTS_WITH_INFO = (1, 9)
MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Observed:
    """What was observed in one database.

    `journal_definitions` is None if the journal could not be read. `watched` counts the watched indexes that
    are not declared; None if only declared indexes are watched.
    """

    server_version: str
    role: RoleFacts
    tables: Mapping[RelationName, TableRights]
    journal: Sequence[JournalRelation]
    journal_definitions: Sequence[JournalDefinition] | None
    watched: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings ask of one database."""

    datname: str
    manifests: tuple[Manifest, ...]
    journal_schema: str
    with_statements: bool
    max_indexes: int

    @property
    def tables(self) -> tuple[RelationName, ...]:
        """Every table that a manifest names."""
        named = {index.table for manifest in self.manifests for index in manifest.indexes}
        return tuple(sorted(named.union(*(manifest.analyze for manifest in self.manifests))))


def judge(wanted: Wanted, observed: Observed) -> tuple[Finding, ...]:
    """Every criterion of a database that answers."""
    return (
        *_server(observed),
        *_role(wanted, observed.role),
        *(_statements(wanted, observed.role) if wanted.with_statements else ()),
        *_tables(wanted, observed),
        *(_journal(wanted, observed) if wanted.manifests else ()),
        *(_watched(wanted, observed.watched) if observed.watched is not None else ()),
    )


def judged(
    criterion: str,
    subject: str,
    holds: bool,
    found: str,
    *,
    reason: str,
    hint: str,
    otherwise: Verdict = Verdict.FAIL,
) -> Finding:
    """A finding that passes or not; `reason` and `hint` count when it does not."""
    if holds:
        return Finding(criterion, subject, Verdict.PASS, "ok", found)
    return Finding(criterion, subject, otherwise, reason, found, hint)


def _server(observed: Observed) -> Iterator[Finding]:
    role = observed.role
    kind = "standby" if role.in_recovery else "primary"
    yield Finding("answers", SERVER, Verdict.PASS, "ok", f"PostgreSQL {observed.server_version}, {kind}")
    yield judged(
        "identity",
        SERVER,
        role.may_read_control_system,
        "pg_control_system() can be read"
        if role.may_read_control_system
        else "cannot read pg_control_system(), by which the rules distinguish clusters",
        reason="not_permitted",
        hint=f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO {quote_identifier(role.rolname)}",
    )
    yield judged(
        "statistics are counted",
        SERVER,
        not role.counts_nothing,
        "track_counts is off on the server" if role.counts_nothing else "counters move",
        reason="track_counts_off",
        hint="set track_counts = on for the server and the database",
    )


def _role(wanted: Wanted, role: RoleFacts) -> Iterator[Finding]:
    name = quote_identifier(role.rolname)
    subject = f"role {name}"
    # Set for a role that others use too, either would remove their figures.
    is_shared = "; turn it off only if nothing else uses this role"
    own_role = "connect as a role for the exporter alone: deploy/sql/monitor.sql creates one"
    yield judged(
        "can read all statistics",
        subject,
        role.may_read_all_stats,
        "a member of pg_read_all_stats"
        if role.may_read_all_stats
        else "not a member of pg_read_all_stats: statements and builds of other roles are hidden",
        reason="not_permitted",
        hint=f"GRANT pg_monitor TO {name}",
    )
    yield judged(
        "own queries are not counted",
        subject,
        not role.track_counts,
        f"track_counts is on for the role{is_shared}"
        if role.track_counts
        else "track_counts is off for the role",
        reason="own_reads_counted",
        hint=own_role if role.is_superuser else f"ALTER ROLE {name} SET track_counts = off",
        otherwise=Verdict.UNKNOWN,
    )
    if wanted.with_statements and role.statements_track is not None:
        yield judged(
            "own queries are not recorded",
            subject,
            role.statements_track == "none",
            f"pg_stat_statements.track is {role.statements_track} for the role"
            + ("" if role.statements_track == "none" else is_shared),
            reason="own_statements_recorded",
            hint=own_role if role.is_superuser else f"ALTER ROLE {name} SET pg_stat_statements.track = none",
            otherwise=Verdict.UNKNOWN,
        )


def _statements(wanted: Wanted, role: RoleFacts) -> Iterator[Finding]:
    yield judged(
        "preloaded",
        STATEMENTS,
        role.statements_preloaded,
        "in shared_preload_libraries"
        if role.statements_preloaded
        else "not in shared_preload_libraries: no statement is recorded",
        reason="not_preloaded",
        hint="add pg_stat_statements to shared_preload_libraries and restart PostgreSQL; "
        "or leave statements out: --max-statements 0",
    )
    if role.statements_version is None:
        yield _not_installed(wanted, role)
        return
    yield _statements_version(wanted, role)
    schema, name = quote_identifier(role.statements_schema or ""), quote_identifier(role.rolname)
    grants = [] if role.may_use_statements_schema else [f"GRANT USAGE ON SCHEMA {schema} TO {name}"]
    if role.statements_functions_refused:
        functions = ", ".join(f"{schema}.{function}" for function in role.statements_functions_refused)
        grants.append(f"GRANT EXECUTE ON FUNCTION {functions} TO {name}")
    yield judged(
        "can be read",
        STATEMENTS,
        not grants,
        f"in schema {schema}",
        reason="not_permitted",
        hint="; ".join(grants),
    )
    yield judged(
        "query identifiers",
        STATEMENTS,
        role.compute_query_id != "off",
        f"compute_query_id is {role.compute_query_id}",
        reason="compute_query_id_off",
        hint="set compute_query_id = auto; without identifiers no statement is recorded",
    )
    yield judged(
        "records statements",
        STATEMENTS,
        not role.records_nothing,
        "pg_stat_statements.track is none on the server"
        if role.records_nothing
        else "statements are recorded",
        reason="track_none",
        hint="set pg_stat_statements.track = top for the server, none for the exporter's role only",
    )


def _not_installed(wanted: Wanted, role: RoleFacts) -> Finding:
    datname = quote_identifier(wanted.datname)
    if role.statements_available_version is None:
        found = "the server does not have its files"
        hint = "install PostgreSQL's contrib package, then CREATE EXTENSION pg_stat_statements"
    else:
        found = f"not installed in {datname}; a superuser can install it there"
        hint = "CREATE EXTENSION pg_stat_statements"
    return Finding("installed", STATEMENTS, Verdict.FAIL, "not_installed", found, hint)


def _statements_version(wanted: Wanted, role: RoleFacts) -> Finding:
    text = role.statements_version or "0"
    version = tuple(int(part) for part in text.split("."))
    newest = role.statements_available_version
    found = f"version {text}" + (f", the server has {newest}" if newest not in (None, text) else "")
    return judged(
        "version",
        STATEMENTS,
        version >= STATEMENTS_WITH_INFO,
        found,
        reason="too_old" if version < OLDEST_STATEMENTS else "evictions_unknown",
        hint="ALTER EXTENSION pg_stat_statements UPDATE",
        otherwise=Verdict.FAIL if version < OLDEST_STATEMENTS else Verdict.UNKNOWN,
    )


def _tables(wanted: Wanted, observed: Observed) -> Iterator[Finding]:
    role = quote_identifier(observed.role.rolname)
    for table in wanted.tables:
        subject = f"table {table.quoted}"
        rights = observed.tables.get(table)
        yield judged(
            "exists",
            subject,
            rights is not None,
            "exists" if rights else f"no table of that name in {quote_identifier(wanted.datname)}",
            reason="absent",
            hint="create it, or correct the manifest or the database that it is bound to",
        )
        if rights is None:
            continue
        grants = []
        if not rights.may_use_schema:
            grants.append(f"GRANT USAGE ON SCHEMA {quote_identifier(table.schemaname)} TO {role}")
        if not rights.may_select:
            grants.append(f"GRANT SELECT ON TABLE {table.quoted} TO {role}")
        yield judged(
            "can be planned",
            subject,
            not grants,
            "EXPLAIN requires the rights of the query" if grants else "SELECT is granted",
            reason="not_permitted",
            hint="; ".join(grants),
        )


def _journal(wanted: Wanted, observed: Observed) -> Iterator[Finding]:
    schema = quote_identifier(wanted.journal_schema)
    subject = f"journal in schema {schema}"
    relations = {relation.relname: relation for relation in observed.journal}
    events = relations.get("migration_events")
    if events is None:
        yield Finding(
            "exists",
            subject,
            Verdict.UNKNOWN,
            "not_created",
            "no journal: it is unknown whether indexes are defined as declared",
            "pg-index-exporter init creates it; if it is in another schema: --journal-schema",
        )
        return
    yield judged(
        "belongs to this tool",
        subject,
        events.is_readable_journal,
        f"{schema}.migration_events",
        reason="not_ours",
        hint="a relation of another program has its name; choose another schema: --journal-schema",
    )
    role = quote_identifier(observed.role.rolname)
    grants = []
    if not observed.role.may_use_journal_schema:
        grants.append(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    if not events.may_select:
        grants.append(f"GRANT SELECT ON TABLE {schema}.migration_events TO {role}")
    yield judged(
        "can be read",
        subject,
        not grants,
        "rights are missing" if grants else "SELECT is granted",
        reason="not_permitted",
        hint="; ".join(grants),
    )
    if observed.journal_definitions is not None:
        yield _definitions(wanted, observed.journal_definitions, subject)


def _definitions(wanted: Wanted, rows: Collection[JournalDefinition], subject: str) -> Finding:
    known = {(row.name, row.index_name) for row in rows}
    missing = [
        quote_identifier(index.name)
        for manifest in wanted.manifests
        for index in manifest.indexes
        if (manifest.migration, index.name) not in known
    ]
    shown = ", ".join(missing[:MOST_NAMES])
    more = f" and {len(missing) - MOST_NAMES} more" if len(missing) > MOST_NAMES else ""
    return judged(
        "canonical definitions",
        subject,
        not missing,
        f"missing for {shown}{more}" if missing else "in the journal for every declared index",
        reason="no_definition",
        hint="pg-index-exporter init writes them, also for indexes that exist already",
        otherwise=Verdict.UNKNOWN,
    )


def _watched(wanted: Wanted, watched: int) -> Iterator[Finding]:
    yield judged(
        "at most max_indexes",
        INDEXES,
        watched <= wanted.max_indexes,
        f"{watched} besides the declared ones, {wanted.max_indexes} are published",
        reason="cut",
        hint=f"--max-indexes {watched}, or watch fewer",
    )
