"""Free space as the operating system reports it, where the server's files are mounted here."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Volume:
    """A mounted file system. `device` identifies it. Units: bytes. Source: statvfs(2)."""

    device: int
    path: Path
    free_bytes: int
    size_bytes: int


def read_volume(path: Path) -> Volume | None:
    """The volume of a file or folder, None when it cannot be read from here."""
    try:
        system = os.statvfs(path)
        device = path.stat().st_dev
    except OSError:
        return None
    # Not f_bfree: the rest is kept for root.
    return Volume(device, path, system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize)


def system_identifier_of(data_directory: Path) -> str | None:
    """The system identifier of the server whose data directory it is; None when it cannot be read.

    Source: the first eight bytes of global/pg_control, in every version.
    """
    try:
        with (data_directory / "global" / "pg_control").open("rb") as file:
            head = file.read(8)
    except OSError:
        return None
    return str(struct.unpack("=Q", head)[0]) if len(head) == 8 else None
