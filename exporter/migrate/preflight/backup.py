"""The command that proves a backup: run without a shell, with a timeout, its output short and masked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from psycopg import ConnectionInfo

from exporter.migrate.preflight.findings import SERVER, failed, passed, unknown
from exporter.model import BackupCommand, Finding
from exporter.text.characters import printable
from exporter.text.figures import duration

_KEPT_BYTES = 4096
_SHOWN_CHARACTERS = 200
BACKUP = "backup"
_OWN_PREFIX = "PG_INDEX_EXPORTER_"
_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|DSN|DATABASE_URL", re.IGNORECASE)
_SECRET_TEXTS = (
    re.compile(r"(?i)((?:password|passwd|pwd|secret|token|key)[\"']?\s*[=:]\s*)(?:'[^']*'|\"[^\"]*\"|\S+)"),
    # Bounded: on a long word the search would be quadratic.
    re.compile(r"([a-z][a-z0-9+.-]{0,30}://[^\s:/@]*:)[^\s@]+(?=@)"),
)
# A shorter text would be masked inside other words.
_SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How the command ended; `exit_code` is None if it was stopped. Units: seconds."""

    exit_code: int | None
    output: str
    seconds: float


def check_backup(info: ConnectionInfo, command: BackupCommand | None, *, runs: bool) -> Finding:
    """Whether the backup command proves that there is a backup."""
    if command is None:
        return unknown(
            BACKUP,
            SERVER,
            "no_command",
            "no backup command is declared",
            "declare one in the manifest: backup: {command: [pgbackrest, check]}",
        )
    shown = _shown(" ".join(command.words), _secrets(info, os.environ))
    if not runs:
        return unknown(BACKUP, SERVER, "not_run", f"not run now: {shown}", "run pg-index-exporter preflight")
    try:
        result = run_command(command, info)
    except OSError as error:
        found = f"{shown} cannot be started: {error.strerror}"
        return failed(BACKUP, SERVER, "not_started", found, "correct backup.command", command=shown)
    facts: dict[str, object] = {
        "command": shown,
        "exit_code": result.exit_code,
        "seconds": round(result.seconds, 3),
        "output": result.output,
    }
    said = f": {result.output}" if result.output else ""
    if result.exit_code is None:
        found = f"{shown} was stopped after {duration(result.seconds)}{said}"
        hint = "find out why it hangs, or raise backup.timeout_seconds"
        return failed(BACKUP, SERVER, "timed_out", found, hint, **facts)
    if result.exit_code != 0:
        found = f"{shown} exited with {result.exit_code}{said}"
        return failed(BACKUP, SERVER, "command_failed", found, "make a backup first", **facts)
    return passed(BACKUP, SERVER, f"{shown} took {duration(result.seconds)}{said}", **facts)


def run_command(command: BackupCommand, info: ConnectionInfo) -> CommandResult:
    """How the command ended and the last line of its output, without secrets.

    It gets the server in PGHOST, PGPORT, PGUSER and PGDATABASE, and no password.
    Raises: OSError when it cannot be started.
    """
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - the manifest's words, no shell
        command.words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(info),
        # Its children end with it.
        start_new_session=True,
    )
    if process.stdout is None:
        raise ValueError("Popen returned no pipe")
    kept = bytearray()
    reader = threading.Thread(target=_keep_end, args=(process.stdout, kept), daemon=True)
    reader.start()
    exit_code: int | None
    try:
        exit_code = process.wait(command.timeout_seconds)
    except subprocess.TimeoutExpired:
        exit_code = None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # A process that left the group may keep the pipe open.
    reader.join(1)
    output = bytes(kept).decode(errors="replace")
    return CommandResult(exit_code, _shown(output, _secrets(info, os.environ)), time.monotonic() - started)


def _keep_end(stream: IO[bytes], kept: bytearray) -> None:
    with suppress(OSError, ValueError), stream:
        while chunk := os.read(stream.fileno(), _KEPT_BYTES):
            kept += chunk
            del kept[:-_KEPT_BYTES]


def _environment(info: ConnectionInfo) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_PREFIX)}
    server = {"PGHOST": info.host, "PGPORT": str(info.port), "PGUSER": info.user, "PGDATABASE": info.dbname}
    return given | {name: value for name, value in server.items() if value}


def _secrets(info: ConnectionInfo, environment: Mapping[str, str]) -> set[str]:
    found = {value for name, value in environment.items() if _SECRET_NAME.search(name)} | {info.password}
    return {value for value in found if len(value) >= _SHORTEST_SECRET}


def _shown(text: str, secrets: Collection[str]) -> str:
    """The last line that is not empty, safe to print, without what is or looks like a secret."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    for pattern in _SECRET_TEXTS:
        text = pattern.sub(r"\1***", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = printable(lines[-1]) if lines else ""
    # Its end is shown: the start may hold a secret that the byte limit cut in two.
    return last if len(last) <= _SHOWN_CHARACTERS else "…" + last[1 - _SHOWN_CHARACTERS :]
