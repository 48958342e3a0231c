"""docs/metrics.md and the metric section of README.md are what build_metric_table.py writes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.catalogue import metrics as catalogue

CHECKOUT = Path(__file__).resolve().parents[3]
PROGRAM = "docs/build_metric_table.py"
PAGE = "docs/metrics.md"
README = "README.md"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The program beside the README with an emptied section, without docs/metrics.md."""
    (tmp_path / "docs").mkdir()
    shutil.copy(CHECKOUT / PROGRAM, tmp_path / PROGRAM)
    text = (CHECKOUT / README).read_text(encoding="utf-8")
    begin, end = "<!-- metrics:begin -->", "<!-- metrics:end -->"
    emptied = re.sub(f"{begin}.*{end}", f"{begin}\n{end}", text, flags=re.DOTALL)
    (tmp_path / README).write_text(emptied, encoding="utf-8")
    return tmp_path


def build(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, folder / PROGRAM, *arguments],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_writes_what_is_checked_in_byte_by_byte(copied: Path) -> None:
    assert build(copied).returncode == 0
    for name in (PAGE, README):
        assert (copied / name).read_bytes() == (CHECKOUT / name).read_bytes()


def test_check_names_what_is_out_of_date_and_writes_nothing(copied: Path) -> None:
    result = build(copied, "--check")

    assert result.returncode == 1
    for name in (PAGE, README):
        assert f"{copied / name} is out of date; run make docs" in result.stderr
    assert not (copied / PAGE).exists()


def test_says_where_the_markers_belong(copied: Path) -> None:
    (copied / README).write_text("# Nothing here\n", encoding="utf-8")

    result = build(copied)

    assert result.returncode == 2
    assert f"{copied / README}: put the section between" in result.stderr


@pytest.mark.parametrize("name", [PAGE, README])
def test_every_metric_is_there_once_with_its_meaning(name: str) -> None:
    lines = (CHECKOUT / name).read_text(encoding="utf-8").splitlines()

    for metric in catalogue.METRICS:
        rows = [line for line in lines if re.match(rf"\| `{metric.name}[`{{]", line)]
        assert len(rows) == 1, metric.name
        assert metric.help in rows[0]
