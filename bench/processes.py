"""Programs under measurement: started, asked of /proc what they use, ended."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_SECONDS = 10.0
LOG_TAIL_LINES = 15


class Program:
    """A running program whose output goes to a file."""

    def __init__(self, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        # What the caller's shell says of PostgreSQL means another server.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DATA_"))}
        self.started = time.perf_counter()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**kept, **environment},
            )

    def check_running(self) -> None:
        """Raises RuntimeError with the end of its output when it has ended."""
        if self._process.poll() is not None:
            tail = self._log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
            command = Path(str(self._process.args[0])).name  # type: ignore[index]  # a list, as given above
            raise RuntimeError(f"{command} ended with status {self._process.returncode}:\n" + "\n".join(tail))

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, those that have ended included."""
        # The kernel's number for another process's CPU clock, as clock_getcpuclockid(3) computes it.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def peak_bytes(self) -> int:
        """The most memory that it had resident at any moment. Source: VmHWM."""
        return self._status_bytes("VmHWM")

    def resident_bytes(self) -> int:
        """The memory that it has resident now. Source: VmRSS."""
        return self._status_bytes("VmRSS")

    def stop(self) -> None:
        """Ends it, at first politely."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _status_bytes(self, name: str) -> int:
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) * 1024
        raise LookupError(f"/proc/{self._process.pid}/status has no {name}")
