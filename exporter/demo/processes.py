"""Processes and ports of the operating system."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

LOOPBACK = "127.0.0.1"
_PROC = Path("/proc")


def free_port() -> int:
    """Return a TCP port of the loopback address without a listener."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Return True if a server could listen on `port` of the loopback address now."""
    with socket.socket() as probe:
        # As servers do: a connection in TIME_WAIT does not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def children(parent: int) -> list[int]:
    """Return the process ids whose parent is `parent`."""
    return [pid for pid, ppid in _parents().items() if ppid == parent]


def is_running(pid: int) -> bool:
    """Return True if `pid` still runs; a zombie does not."""
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
    """Return state, parent and the rest of /proc/PID/stat, None if the process has ended."""
    try:
        text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program name before them is in parentheses, and can contain spaces and parentheses.
    return text.rpartition(")")[2].split()
