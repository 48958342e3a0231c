"""Has a file changed since it was read? Asked without reading it again."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """What changes with a file's content, be it written in place, replaced, or reached by another link."""

    inode: int
    size_bytes: int
    modified_nanoseconds: int


def file_state(path: Path) -> FileState | None:
    """The state of the file that the path leads to, None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return FileState(found.st_ino, found.st_size, found.st_mtime_ns)
