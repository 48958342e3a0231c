"""The command that proves a backup: run without a shell, within its time, its output kept short and clean."""

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
    # Bounded, or a long word would be gone through once for each of its letters.
    re.compile(r"([a-z][a-z0-9+.-]{0,30}://[^\s:/@]*:)[^\s@]+(?=@)"),
)
# A shorter text would be masked wherever it stands in a word.
_SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How the command ended. `exit_code` is None where it was stopped. Units: seconds."""

    exit_code: int | None
    output: str
    seconds: float


def check_backup(info: ConnectionInfo, command: BackupCommand | None, *, runs: bool) -> Finding:
    """Whether the declared command says that there is a backup."""
    if command is None:
        return unknown(
            BACKUP,
            SERVER,
            "no_command",
            "nothing is declared that would prove a backup",
            "declare one in the manifest: backup: {command: [pgbackrest, check]}",
        )
    shown = _shown(" ".join(command.words), _secrets(info, os.environ))
    if not runs:
        return unknown(BACKUP, SERVER, "not_run", f"not run now: {shown}", "run the preflight command")
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
        hint = "see why it hangs, or raise backup.timeout_seconds"
        return failed(BACKUP, SERVER, "timed_out", found, hint, **facts)
    if result.exit_code != 0:
        found = f"{shown} ended with {result.exit_code}{said}"
        return failed(BACKUP, SERVER, "command_failed", found, "have a backup made first", **facts)
    return passed(BACKUP, SERVER, f"{shown} took {duration(result.seconds)}{said}", **facts)


def run_command(command: BackupCommand, info: ConnectionInfo) -> CommandResult:
    """How the command ended and the end of what it said, without secrets.

    It learns the server from PGHOST, PGPORT, PGUSER and PGDATABASE, and no password.
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
        raise ValueError("the pipe was asked for")
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
    # Whoever left the group may hold the pipe open.
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
    """The last line that says something, safe to print, without what is or looks like a secret."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    for pattern in _SECRET_TEXTS:
        text = pattern.sub(r"\1***", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = printable(lines[-1]) if lines else ""
    # Its end: what was cut off before may have cut a secret in two.
    return last if len(last) <= _SHOWN_CHARACTERS else "…" + last[1 - _SHOWN_CHARACTERS :]
