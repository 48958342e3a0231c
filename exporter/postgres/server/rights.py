"""What the current role may do for the exporter, checked before it is relied on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.model import RelationName
from exporter.postgres.fetching import fetch
from exporter.postgres.target import Connection

# The sources in pg_settings of a setting that holds for every role.
_FOR_ALL = frozenset(
    ("default", "environment variable", "configuration file", "command line", "global", "database")
)


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """The current role and its session.

    Source: pg_settings, pg_roles, pg_extension, pg_available_extensions().

    `statements_track` is None unless pg_stat_statements is preloaded; what concerns the extension is None
    where it is not installed, `statements_available_version` where the server has no such files.
    `statements_functions_refused` are the functions of the extension that the role may not call.
    """

    rolname: str
    is_superuser: bool
    in_recovery: bool
    may_read_all_stats: bool
    may_read_control_system: bool
    track_counts: bool
    track_counts_source: str
    statements_track: str | None
    statements_track_source: str | None
    statements_preloaded: bool
    compute_query_id: str
    statements_version: str | None
    statements_schema: str | None
    may_use_statements_schema: bool | None
    statements_functions_refused: list[str]
    statements_available_version: str | None
    may_use_journal_schema: bool | None

    @property
    def counts_nothing(self) -> bool:
        """True when track_counts is off for every role, not for this one alone."""
        return not self.track_counts and self.track_counts_source in _FOR_ALL

    @property
    def records_nothing(self) -> bool:
        """True when pg_stat_statements records no statement of any role."""
        return self.statements_track == "none" and self.statements_track_source in _FOR_ALL


@dataclass(frozen=True, slots=True)
class TableRights:
    """One table that exists. Source: has_schema_privilege(), has_table_privilege()."""

    schemaname: str
    relname: str
    may_use_schema: bool
    may_select: bool

    @property
    def name(self) -> RelationName:
        """The table's name."""
        return RelationName(self.schemaname, self.relname)


def read_role_facts(connection: Connection, journal_schema: str) -> RoleFacts:
    """What the role of this session may do, and what is set for it."""
    (facts,) = fetch(connection, "role_facts", RoleFacts, schemaname=journal_schema)
    return facts


def read_table_rights(
    connection: Connection, tables: Iterable[RelationName]
) -> dict[RelationName, TableRights]:
    """The rights on each of these tables that exists."""
    wanted = list(tables)
    rows = fetch(
        connection,
        "table_rights",
        TableRights,
        schemanames=[table.schemaname for table in wanted],
        relnames=[table.relname for table in wanted],
    )
    return {row.name: row for row in rows}
