"""Whether a file has changed since it was read, without reading it again."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """Attributes that change if the content, mode or link target of a file changes."""

    device: int
    inode: int
    size_bytes: int
    modified_nanoseconds: int
    changed_nanoseconds: int


def file_state(path: Path) -> FileState | None:
    """Return the state of a regular file or folder, links followed; None without one.

    A folder's changes as files come and go. A pipe or a device has no state, because it cannot be read twice.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        return None
    return FileState(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def have_changed(files: Mapping[Path, FileState | None]) -> bool:
    """Return True if the state of one of the files differs."""
    return any(file_state(path) != state for path, state in files.items())
