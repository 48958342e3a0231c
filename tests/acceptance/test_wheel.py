"""The wheel carries everything that the installed program needs, and nothing with a general name."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.tools import CHECKOUT

BUNDLED = ("alerts", "grafana", "indexes")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, CHECKOUT],
        check=True,
    )
    [path] = directory.glob("*.whl")
    return path


def source_files(folder: str) -> set[str]:
    return {
        str(path.relative_to(CHECKOUT))
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_the_package_with_its_files(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    assert names >= source_files("exporter")
    for folder in BUNDLED:
        assert names >= {f"exporter/_bundled/{name}" for name in source_files(folder)}


def test_wheel_puts_one_name_into_site_packages(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert {name for name in top if not name.endswith(".dist-info")} == {"exporter"}


def test_installed_package_finds_its_bundled_files(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = (
        "import exporter.bundled as bundled\n"
        f"for name in {BUNDLED}: print(bundled.path(name), any(bundled.path(name).iterdir()))"
    )

    # -P: the checkout must not stand before what was installed.
    said = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout.splitlines() == [f"{tmp_path}/exporter/_bundled/{name} True" for name in BUNDLED]


@pytest.mark.long
def test_the_wheel_gives_the_command_and_no_tools_of_the_project(wheel: Path, tmp_path: Path) -> None:
    """As `pip install`, pipx and uvx do it: into an empty environment, with the wheel's requirements."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip: list[str | Path] = [
        environment / "bin" / "python",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
    ]
    installed = subprocess.run([*pip, "install", wheel], capture_output=True, text=True, check=False)
    if "No matching distribution" in installed.stderr:
        pytest.skip(f"the requirements cannot be had here: {installed.stderr.splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr

    shown = subprocess.run(
        [environment / "bin" / "pg-index-exporter", "--help"], capture_output=True, text=True, check=True
    )

    assert "serve" in shown.stdout
    commands = {path.name for path in (environment / "bin").iterdir()}
    assert commands & {"ruff", "mypy", "basedpyright", "pytest"} == set()
