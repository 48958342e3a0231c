"""A base backup of the demo's server, for `init` to verify before it builds."""

from __future__ import annotations

import os
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from exporter.demo.guard import Guard
from exporter.demo.server import EmbeddedServer, find_binaries
from exporter.errors import TargetError


def make_backup(server: EmbeddedServer, guard: Guard, directory: Path) -> tuple[str, ...]:
    """Copy the running server into `directory`; return the command that verifies the copy.

    Raises: TargetError with the output of pg_basebackup.
    """
    binaries = find_binaries()
    given = conninfo_to_dict(server.dsn())
    # A command line is readable by every user of the machine.
    environment = {**os.environ, "PGPASSWORD": str(given["password"])}
    command = [
        str(binaries / "pg_basebackup"),
        f"--pgdata={directory}",
        f"--host={given['host']}",
        f"--port={given['port']}",
        f"--username={given['user']}",
        "--checkpoint=fast",
        "--wal-method=fetch",
        "--no-sync",
    ]
    log_path = directory.with_suffix(".log")
    with log_path.open("wb") as log:
        process = guard.spawn(command, output=log, env=environment)
        try:
            status = process.wait()
        finally:
            guard.stop(process)
    if status:
        output = log_path.read_text(encoding="utf-8", errors="replace")
        raise TargetError(
            f"pg_basebackup ended with status {status}:\n{output}",
            hint=f"check the free space of {directory.parent}, then start the demo again",
        )
    return str(binaries / "pg_verifybackup"), str(directory)
