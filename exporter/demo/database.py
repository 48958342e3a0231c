"""The database of Nova on an embedded server: roles of the app, the builder and the monitor."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from exporter.demo import nova
from exporter.demo.server import EmbeddedServer
from exporter.demo.statements import statement

DATABASE = "nova"
APP = "nova"
BUILDER = "index_builder"
MONITOR = "index_monitor"

SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    # The data is generated and removed after the demo: it need not survive a power cut.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    # With the default, meant for rotating disks, a generic plan fetches and sorts all rows of a user
    # instead of reading the newest from the index: slow for users with many rows.
    "random_page_cost": "1.1",
}


@dataclass(frozen=True, slots=True)
class NovaDatabase:
    """Connection strings of the roles with passwords: never print them."""

    app_dsn: str
    builder_dsn: str
    monitor_dsn: str


def create_database(server: EmbeddedServer) -> NovaDatabase:
    """Create the database on a running server, with empty tables owned by the role of the app."""
    passwords = {role: secrets.token_urlsafe(18) for role in (APP, BUILDER, MONITOR)}
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(statement("roles"))
        for role, password in passwords.items():
            _set_password(connection, role, password)
        names = {"database": sql.Identifier(DATABASE), "owner": sql.Identifier(APP)}
        connection.execute(sql.SQL("CREATE DATABASE {database} OWNER {owner}").format(**names))
    dsns = {role: server.dsn(DATABASE, role, password) for role, password in passwords.items()}
    with psycopg.connect(dsns[APP], autocommit=True) as connection:
        nova.create_schema(connection)
    with psycopg.connect(server.dsn(DATABASE), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        connection.execute(statement("grants"))
    return NovaDatabase(app_dsn=dsns[APP], builder_dsn=dsns[BUILDER], monitor_dsn=dsns[MONITOR])


def write_password_file(path: Path, database: NovaDatabase) -> None:
    """Write a password file for PGPASSFILE with the passwords of the roles."""
    path.touch(mode=0o600)
    lines = []
    for dsn in (database.app_dsn, database.builder_dsn, database.monitor_dsn):
        given = conninfo_to_dict(dsn)
        fields = (given[name] for name in ("host", "port", "dbname", "user", "password"))
        lines.append(":".join(str(field) for field in fields))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _set_password(connection: nova.Connection, role: str, password: str) -> None:
    # Hashed here, because pg_stat_statements and the log keep the text of ALTER ROLE.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
    )
