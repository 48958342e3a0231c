"""The peer: prometheus-community's postgres_exporter, wherever it is found."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The project's own name for it, and Debian's.
NAMES = ("postgres_exporter", "prometheus-postgres-exporter")
MISSING = "no postgres_exporter in PATH: apt-get install prometheus-postgres-exporter, or --peer FILE"
_VERSION = re.compile(r"version (\d+)\.(\d+)\.(\d+)")
_COLLECTOR = re.compile(r"--(?:\[no-\])?collector\.([a-z_]+)\s")


@dataclass(frozen=True, slots=True)
class Peer:
    """A postgres_exporter program."""

    path: Path
    version: tuple[int, ...]

    @property
    def title(self) -> str:
        """Its name and version."""
        return f"postgres_exporter {'.'.join(map(str, self.version))}"

    def command(self, query_file: Path, listen_address: str) -> list[str]:
        """Runs it with the queries of the file and nothing else."""
        collectors = _COLLECTOR.findall(_output(self.path, "--help"))
        return [
            str(self.path),
            f"--web.listen-address={listen_address}",
            f"--extend.query-path={query_file}",
            "--disable-default-metrics",
            "--disable-settings-metrics",
            *(f"--no-collector.{collector}" for collector in collectors),
        ]


def find_peer(given: Path | None) -> Peer | None:
    """The one given, else the newest in PATH; None when there is none.

    Raises: LookupError when the one given does not say its version.
    """
    if given is not None:
        return _examine(given)
    return max(map(_examine, _candidates()), key=lambda peer: peer.version, default=None)


def _candidates() -> Iterator[Path]:
    for folder in os.get_exec_path():
        for name in NAMES:
            path = Path(folder, name)
            if path.is_file() and os.access(path, os.X_OK):
                yield path


def _examine(path: Path) -> Peer:
    said = _VERSION.search(_output(path, "--version"))
    if said is None:
        raise LookupError(f"{path} --version does not say a version of postgres_exporter")
    return Peer(path, tuple(map(int, said.groups())))


def _output(path: Path, flag: str) -> str:
    # Where they write it changed between versions.
    run = subprocess.run([path, flag], capture_output=True, text=True, check=False)
    return run.stdout + run.stderr
