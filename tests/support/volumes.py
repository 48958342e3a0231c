"""Small volumes of their own, which are really full when they are."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.demo.guard import primary_group
from exporter.demo.installation import unprivileged_user


@contextmanager
def mounted(size: str, place: Path | None = None) -> Iterator[Path]:
    """An empty volume of that size (`512k`), which belongs to the user that test servers run as.

    Mounted on `place` where one is given. Skips the test where mounting is not allowed.
    """
    made = place is None
    # The server's user must reach it.
    place = place or Path("/tmp") / f"volume-{secrets.token_hex(4)}"  # noqa: S108
    place.mkdir(exist_ok=True)
    user = unprivileged_user()
    options = f"size={size},mode=700" + (f",uid={user},gid={primary_group(user)}" if user else "")
    command = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True, check=False
    )
    try:
        if command.returncode:
            pytest.skip(f"mounting is not allowed here: {command.stderr.strip()}")
        yield place
    finally:
        if not command.returncode:
            subprocess.run(["umount", "--lazy", place], check=True)
        if made:
            os.rmdir(place)
