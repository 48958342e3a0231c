"""Data directories made by initdb once a run and version, and copied for every server."""

import base64
import hashlib
import hmac
import secrets
import shutil
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from exporter.demo.server import EmbeddedServer
from tests.support.run_directory import run_guard, shared_directory, shared_lock


def copy_cluster(kind: str, binaries: Path, data_directory: Path) -> str:
    """Fill `data_directory` with a new cluster; return its superuser's password.

    All copies of a version have one system identifier, as clones of one server do.
    """
    original = shared_directory() / f"cluster-{kind}"
    with shared_lock(original.name):
        if not original.exists():
            _make_cluster(original, binaries)
    # With owners and modes, which PostgreSQL insists on.
    subprocess.run(["cp", "-a", original / "data", data_directory], check=True)
    return (original / "superuser").read_text(encoding="ascii")


def quick_verifier(password: str) -> str:
    """Return what PostgreSQL stores for a password, hashed once instead of 4,096 times.

    A connection costs a third then. Passwords of tests are random, and gone with the run.
    """
    salt = secrets.token_bytes(16)
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(key, b"Client Key", "sha256")).digest()
    server = hmac.digest(key, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (base64.b64encode(each).decode() for each in (salt, stored, server))
    return f"SCRAM-SHA-256$1:{salt_text}${stored_text}:{server_text}"


def quicken_password(dsn: str, user: str, password: str) -> None:
    """Have the user's password checked quickly from now on."""
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(user), quick_verifier(password))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)


def _make_cluster(original: Path, binaries: Path) -> None:
    password = secrets.token_hex(12)
    making = original.with_name(f"{original.name}.making")
    # An attempt that was cut off.
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    settings = {"fsync": "off"}
    with EmbeddedServer(
        making, password=password, binaries=binaries, settings=settings, guard=run_guard()
    ) as server:
        quicken_password(server.dsn(), server.superuser, password)
    file = making / "superuser"
    file.touch(mode=0o600)
    file.write_text(password, encoding="ascii")
    making.rename(original)
