"""Where outside programs come from, and what happens without them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import tools


@pytest.fixture
def only_docker_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("docker", "sh"):
        program = shutil.which(name)
        if program is not None:
            (tmp_path / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_path_is_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "promtool"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert tools.locate_tool.__wrapped__("promtool") == program


@pytest.mark.usefixtures("only_docker_in_path")
def test_docker_is_second() -> None:
    tools.require_docker("postgres:17")

    psql = tools.locate_tool.__wrapped__("psql")

    assert psql is not None
    said = subprocess.run([psql, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("psql (PostgreSQL) 17")


def test_a_program_in_docker_sees_the_files_of_the_test(tmp_path: Path) -> None:
    tools.require_docker("postgres:17")
    (tmp_path / "two words").write_text("seen")

    cat = tools.container_script("cat", "postgres:17", "/usr/bin/cat")

    assert subprocess.run([cat, "two words"], capture_output=True, check=True, cwd=tmp_path).stdout == b"seen"


def test_neither_skips_and_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(tools, "locate_tool", lambda name: None)

    with pytest.raises(pytest.skip.Exception, match=r"promtool is not in PATH.*apt-get install prometheus"):
        tools.find_tool("promtool")


def test_nothing_is_skipped_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match="CI=true"):
        tools.missing("no promtool")
