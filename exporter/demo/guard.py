"""A process that outlives its owner briefly, to stop the owner's processes and remove its files.

Python's clean-up does not run if the owner is killed by an unhandled signal. The guard waits on a pipe
whose other end only the owner has open: the kernel closes it however the owner ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from exporter.demo.processes import is_running
from exporter.demo.signals import signals_deferred

STOP_TIMEOUT_SECONDS = 20.0
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from exporter.demo.guard import main; main()"


class Guard:
    """Stop the watched processes, then remove the directories, when the owner has ended."""

    def __init__(self) -> None:
        # No site-packages and no PYTHON* variables: it starts fast and cannot be broken by either.
        package_root = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, package_root],
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )

    def watch(self, pid: int, stop_signal: signal.Signals = signal.SIGTERM) -> None:
        """Stop `pid` by `stop_signal` when the owner has ended."""
        self._send("watch", pid, int(stop_signal))

    def forget(self, pid: int) -> None:
        """Do not stop `pid`; call this when it has ended."""
        self._send("forget", pid)

    def remove(self, directory: Path) -> None:
        """Remove `directory` when the owner has ended, after the processes."""
        self._send("remove", str(directory))

    def close(self) -> None:
        """Do now what the guard does when the owner ends, and wait for it."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            # A guard that was killed from outside leaves a pipe that cannot be flushed.
            with contextlib.suppress(BrokenPipeError):
                stdin.close()
        self._process.wait()

    def spawn(
        self,
        command: Sequence[str],
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        output: IO[bytes] | int | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start and watch a process in its own session.

        Ctrl-C of the terminal does not reach another session: the owner stops all in the right order.
        """
        with signals_deferred():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output is not None else None,
                cwd=cwd,
                env=env,
                start_new_session=True,
                user=user,
                group=primary_group(user) if user else None,
                extra_groups=[] if user else None,
            )
            self.watch(process.pid, stop_signal)
        return process

    def stop(
        self,
        process: subprocess.Popen[bytes],
        stop_signal: signal.Signals = signal.SIGTERM,
        *,
        timeout_seconds: float = STOP_TIMEOUT_SECONDS,
    ) -> None:
        """Stop a spawned process and wait for it; kill it if it does not end in time."""
        if process.poll() is None:
            process.send_signal(stop_signal)
            try:
                process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.forget(process.pid)

    def _send(self, *words: str | int) -> None:
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(words).encode() + b"\n")
            stdin.flush()


def primary_group(user: str) -> int:
    """Return the numeric primary group of an operating system user."""
    return pwd.getpwnam(user).pw_gid


def main() -> None:
    """Run as the guard: read messages from standard input, act when it closes."""
    watched: dict[int, int] = {}
    directories: list[str] = []
    for line in sys.stdin:
        match json.loads(line):
            case ["watch", int(pid), int(number)]:
                watched[pid] = number
            case ["forget", int(pid)]:
                watched.pop(pid, None)
            case ["remove", str(directory)]:
                directories.append(directory)
    _stop(watched)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _stop(watched: Mapping[int, int]) -> None:
    for pid, number in watched.items():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    running = set(watched)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while (running := {pid for pid in running if is_running(pid)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
