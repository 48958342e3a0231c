"""The temporary folders of a test run, removed however the run ends; and the one that stays."""

import contextlib
import fcntl
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from exporter.demo.guard import Guard

# What test runs fetch and keep.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pg-index-exporter-tests"
# Where the processes of one run find what they share. Not PG…: tests run without such variables.
SHARED_DIRECTORY = "INDEX_TESTS_SHARED_DIRECTORY"
MEMORY = Path("/dev/shm")  # noqa: S108
# A run of two workers takes about a quarter of it at its peak.
MEMORY_BYTES = 6 * 2**30


@functools.cache
def run_guard() -> Guard:
    """The guard that ends what this process started, also when the process is killed."""
    return Guard()


@functools.cache
def run_directory() -> Path:
    """A folder of this process that every user may enter: as root, PostgreSQL runs as another user."""
    return _make_directory(None)


@functools.cache
def data_directory() -> Path:
    """The folder for the data of servers: in memory where that has room, several times faster than a disk."""
    return _make_directory(MEMORY if _memory_has_room() else None)


@functools.cache
def shared_directory() -> Path:
    """The folder that all processes of a run share; the first to ask makes it, and removes it at its end.

    On a disk, because programs may not be run from memory everywhere.
    """
    if given := os.environ.get(SHARED_DIRECTORY):
        return Path(given)
    os.environ[SHARED_DIRECTORY] = str(run_directory())
    return run_directory()


@contextlib.contextmanager
def shared_lock(name: str) -> Iterator[None]:
    """Keep other processes of the run out of the block of the same name."""
    with (shared_directory() / f"{name}.lock").open("w") as file:
        # Released when the file is closed, also by the end of the process.
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_directory(parent: Path | None) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="pg-index-exporter-tests-", dir=parent))
    directory.chmod(0o755)
    run_guard().remove(directory)
    return directory


def _memory_has_room() -> bool:
    try:
        free_bytes = shutil.disk_usage(MEMORY).free
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return False
    available = re.search(r"^MemAvailable: +(\d+) kB", text, re.MULTILINE)
    return available is not None and min(free_bytes, int(available[1]) * 1024) >= MEMORY_BYTES
