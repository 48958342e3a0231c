"""The roles of deploy/sql, made by psql as people make them."""

import os
import subprocess
from pathlib import Path

from psycopg import conninfo, sql

from tests.conftest import TestDatabase
from tests.support.tools import find_tool

SCRIPTS = Path(__file__).resolve().parents[2] / "deploy" / "sql"
PASSWORD = "throw-away"


def run_script(
    database: TestDatabase, script: str, user: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """What psql said and how it ended."""
    given = conninfo.conninfo_to_dict(database.server.dsn(database.name, user, PASSWORD if user else None))
    password = given.pop("password")
    return subprocess.run(
        [
            *(find_tool("psql"), "-X", "-q", "-d", conninfo.make_conninfo("", **given)),
            *(word for name, value in variables.items() for word in ("-v", f"{name}={value}")),
            *("-f", SCRIPTS / script),
        ],
        env={**os.environ, "PGPASSWORD": str(password), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )


def make_role(database: TestDatabase, script: str, name: str, tables: str, **variables: str) -> str:
    """What psql said on stderr while it made the role, which then has the tests' password."""
    for _ in range(2):  # the second run must change nothing and must not fail
        result = run_script(database, script, tables=tables, role=name, **variables)
        assert result.returncode == 0, result.stderr
    database.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), PASSWORD))
    return result.stderr
