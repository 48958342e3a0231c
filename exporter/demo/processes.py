"""What is asked of the operating system about processes and ports."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

LOOPBACK = "127.0.0.1"
_PROC = Path("/proc")


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address at this moment."""
    with socket.socket() as probe:
        # As servers do: a connection of the past that is still being closed is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def children(parent: int) -> list[int]:
    """The process ids whose parent is `parent`."""
    return [pid for pid, ppid in _parents().items() if ppid == parent]


def is_running(pid: int) -> bool:
    """Whether `pid` still runs; one that has ended and waits to be reaped does not."""
    if _PROC.joinpath("self", "stat").exists():
        stat = _stat(_PROC / str(pid))
        return stat is not None and stat[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _parents() -> dict[int, int]:
    if _PROC.joinpath("self", "stat").exists():
        stats = {int(entry.name): _stat(entry) for entry in _PROC.glob("[0-9]*")}
        return {pid: int(stat[1]) for pid, stat in stats.items() if stat is not None}
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="],  # noqa: S607 - a standard tool, in its usual place
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = (line.split() for line in listing.stdout.splitlines())
    return {int(pid): int(ppid) for pid, ppid in pairs}


def _stat(entry: Path) -> list[str] | None:
    """State, parent and what follows in /proc/PID/stat; None when the process is gone."""
    try:
        text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program's name stands in parentheses before them and may hold spaces and parentheses.
    return text.rpartition(")")[2].split()
