"""What a session may do before a build, and whether it has its own server process."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from exporter.postgres.fetching import fetch
from exporter.postgres.target import Connection, set_session

# Enough for a pooler that gives the next statement to another process.
IDENTITY_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What the session may do.

    `read_only_default` is what a session starts with, `read_only_of_role` whether for this role alone.
    Source: pg_is_in_recovery(), has_database_privilege(), pg_has_role(), pg_settings,
    pg_db_role_setting, pg_roles.rolsuper (14), has_parameter_privilege() (15).
    """

    server_version_num: int
    in_recovery: bool
    read_only: bool
    read_only_default: bool | None
    read_only_of_role: bool
    may_create_temporary: bool
    may_read_all_stats: bool
    may_signal_backend: bool
    may_set_deadlock_timeout: bool
    track_counts: bool
    backend_pid: int
    usename: str

    @property
    def is_monitor(self) -> bool:
        """True for a role with the settings of deploy/sql/monitor.sql: it reads, and is not counted."""
        return self.read_only_of_role and not self.track_counts


@dataclass(frozen=True, slots=True)
class SessionIdentity:
    """Which process answered one statement, and the token that the session was given. (14)"""

    backend_pid: int
    token: str | None


def read_session_facts(connection: Connection) -> SessionFacts:
    """The facts of this session."""
    (facts,) = fetch(connection, "session_facts", SessionFacts)
    return facts


def pooling_evidence(connection: Connection) -> str | None:
    """Return the evidence of a pooler in between, None if one process serves the session and keeps its state.

    A pooler returns its own process numbers; one that does not is known by a statement that another
    process answers, or one that does not know what the statement before has set.
    """
    token = secrets.token_hex(8)
    set_session(connection, {"pg_index_exporter.session": token})
    told_pid = connection.info.backend_pid
    for _ in range(IDENTITY_ROUNDS):
        (identity,) = fetch(connection, "session_identity", SessionIdentity)
        if identity.backend_pid != told_pid:
            return f"the connection is said to be process {told_pid}, process {identity.backend_pid} answers"
        if identity.token != token:
            return "a setting of one statement was gone in the next"
    return None
