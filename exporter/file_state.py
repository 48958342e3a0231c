"""Has a file changed since it was read? Asked without reading it again."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """What changes with a file's content or rights, be it written, replaced, or reached by another link."""

    device: int
    inode: int
    size_bytes: int
    modified_nanoseconds: int
    changed_nanoseconds: int


def file_state(path: Path) -> FileState | None:
    """The state of the regular file that the path leads to, None when there is none.

    A pipe or a device has no state: what was read from it is gone.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return FileState(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def have_changed(files: Mapping[Path, FileState | None]) -> bool:
    """True when one of the files is in another state than that."""
    return any(file_state(path) != state for path, state in files.items())
