"""The checked-in dashboard is what build_dashboards.py writes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import dashboard

CHECKOUT = dashboard.FOLDER.parent


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The program and its modules in a folder without the dashboard."""
    for source in dashboard.FOLDER.glob("*.py"):
        shutil.copy(source, tmp_path)
    return tmp_path


def build(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, folder / "build_dashboards.py", *arguments],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_writes_the_dashboard_that_is_checked_in_byte_by_byte(copied: Path) -> None:
    written = copied / "dashboards" / dashboard.PATH.name

    assert build(copied).returncode == 0
    assert written.read_bytes() == dashboard.PATH.read_bytes()


def test_check_accepts_what_it_wrote(copied: Path) -> None:
    build(copied)

    assert build(copied, "--check").returncode == 0


@pytest.mark.parametrize("is_missing", [True, False])
def test_check_refuses_another_file_and_leaves_it_alone(copied: Path, is_missing: bool) -> None:
    build(copied)
    written = copied / "dashboards" / dashboard.PATH.name
    if is_missing:
        written.unlink()
    else:
        written.write_text("{}", encoding="utf-8")

    result = build(copied, "--check")

    assert result.returncode == 1
    assert f"{written} is out of date; run python {copied / 'build_dashboards.py'}" in result.stderr
    assert written.exists() is not is_missing
    assert is_missing or written.read_text(encoding="utf-8") == "{}"
