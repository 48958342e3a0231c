"""Where outside programs come from, and what happens without them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import docker, tools


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
def test_docker_is_second(tmp_path: Path) -> None:
    image = tools.TOOLS["promtool"].image
    if image is None or not docker.has_image(image):
        # Not `require_docker`: where the program is in PATH, CI does not bring the image as well.
        pytest.skip(f"no Docker engine with {image}")
    rules = tmp_path / "rules.yml"
    rules.write_text("groups: [{name: a, rules: [{record: b, expr: vector(1)}]}]")

    promtool = tools.locate_tool.__wrapped__("promtool")
    assert promtool is not None
    checked = subprocess.run(
        [promtool, "check", "rules", rules], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    assert "1 rules found" in checked.stdout


def test_neither_skips_and_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(tools, "locate_tool", lambda name: None)

    with pytest.raises(pytest.skip.Exception, match=r"promtool is not in PATH.*apt-get install prometheus"):
        tools.find_tool("promtool")


def test_nothing_is_skipped_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match="CI=true"):
        tools.missing("no promtool")
