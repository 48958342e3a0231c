"""PgBouncer in front of a server."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from exporter.demo.guard import primary_group
from exporter.demo.installation import unprivileged_user
from tests.support.ports import free_port
from tests.support.postgres_server import PostgresServer
from tests.support.run_directory import run_directory
from tests.support.tools import find_tool
from tests.support.waiting import wait_for


@contextlib.contextmanager
def pooled(server: PostgresServer, dbname: str, pool_mode: str) -> Iterator[str]:
    """The conninfo of the database by way of a pooler, as the superuser."""
    program = find_tool("pgbouncer")
    port = free_port()
    directory = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir=run_directory()))
    user = unprivileged_user()
    (directory / "pgbouncer.ini").write_text(
        "[databases]\n"
        f"{dbname} = host={server.host} port={server.port} "
        f"user={server.superuser} password={server.password}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = {pool_mode}\n"
        "unix_socket_dir =\n"
    )
    directory.chmod(0o755)
    process = subprocess.Popen(
        [program, "-q", directory / "pgbouncer.ini"],
        cwd="/",
        user=user,
        group=primary_group(user) if user else None,
        extra_groups=[] if user else None,
        stderr=subprocess.DEVNULL,
    )
    dsn = make_conninfo(host="127.0.0.1", port=port, dbname=dbname, user=server.superuser, password="any")

    def answers() -> bool | None:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError:
            return None
        return True

    try:
        wait_for("an answer of PgBouncer", answers)
        yield dsn
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory)
