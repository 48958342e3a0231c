"""The commands of the change line, where a manifest is bound to a pattern."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli import main
from tests.conftest import TestDatabase

MANIFEST = """\
migration: 090_test
indexes:
  - {name: idx_items_name, table: public.items, columns: [name]}
"""


@pytest.fixture
def family(database: TestDatabase) -> Iterator[list[TestDatabase]]:
    """A database and clones of it, whose names begin with its name: the second, and an old one."""
    database.execute("CREATE TABLE items AS SELECT g::text AS name FROM generate_series(1, 9) AS g")
    clones = [TestDatabase(database.server, f"{database.name}_{suffix}") for suffix in ("2", "old")]
    for clone in clones:
        database.server.execute(f"CREATE DATABASE {clone.name} TEMPLATE {database.name}")
    yield [database, *clones]
    for clone in clones:
        database.server.drop_database(clone.name)


@pytest.fixture
def flags(family: list[TestDatabase], tmp_path: Path) -> list[str]:
    """Settings with a pattern that takes the family without its old member."""
    (tmp_path / "m.yaml").write_text(MANIFEST)
    first = family[0]
    file = tmp_path / "settings.yaml"
    file.write_text(
        "targets:\n"
        "  - name: one\n"
        f"    dsn: {first.server.dsn()}\n"
        "    databases:\n"
        f'      - {{pattern: "{first.name}*", exclude: ["*_old"], manifests: [m.yaml]}}\n'
    )
    return ["--config.file", str(file)]


def has_index(database: TestDatabase) -> bool:
    return database.execute("SELECT to_regclass('idx_items_name')") != [(None,)]


def datnames(output: str) -> list[str]:
    """The databases of the reports that were printed one after another."""
    decoder, found = json.JSONDecoder(), []
    while output := output.lstrip():
        report, end = decoder.raw_decode(output)
        found.append(report["datname"])
        output = output[end:]
    return found


def test_every_database_that_matches_is_built_and_verified(
    family: list[TestDatabase], flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, _ = family

    assert main(["status", *flags]) == 1
    capsys.readouterr()
    assert main(["init", "--yes", "--format", "json", *flags]) == 0
    assert datnames(capsys.readouterr().out) == [first.name, second.name]
    assert main(["verify", "--format", "json", *flags]) == 0
    assert datnames(capsys.readouterr().out) == [first.name, second.name]
    assert main(["status", *flags]) == 0

    assert [has_index(database) for database in family] == [True, True, False]


def test_one_of_them_can_be_chosen(family: list[TestDatabase], flags: list[str]) -> None:
    assert main(["init", "--yes", "--database", family[1].name, *flags]) == 0

    assert [has_index(database) for database in family] == [False, True, False]


def test_a_choice_that_matches_nothing_is_told(
    family: list[TestDatabase], flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--database", family[2].name, *flags]) == 2

    assert "the settings have: pattern " in capsys.readouterr().err


def test_a_script_needs_no_server(
    family: list[TestDatabase], flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(flags[1])
    file.write_text(file.read_text().replace(f"port={family[0].server.port}", "port=1"))

    assert main(["plan", "--sql", *flags]) == 0

    assert "idx_items_name" in capsys.readouterr().out
