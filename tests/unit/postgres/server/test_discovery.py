"""Which of a server's databases the patterns of a target take."""

import pytest

from exporter.model import Database, DatabasePattern, Manifest, Target
from exporter.postgres.server.discovery import match_databases
from exporter.secret import SecretStr

CONNINFO = SecretStr("host=h dbname=postgres")
MANIFEST = Manifest("m.yaml", "090_test", ("public",), (), ())


def target(*patterns: DatabasePattern, names: tuple[str, ...] = ()) -> Target:
    named = tuple(Database(name, CONNINFO) for name in names)
    return Target("one", named, patterns, Database("postgres", CONNINFO) if patterns else None)


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("*", ["Nova_1", "nova_1", "nova_10", "odd[name", 'quo"ted\n', "ä"]),
        ("nova_*", ["nova_1", "nova_10"]),
        ("nova_?", ["nova_1"]),
        ("[Nn]ova_1", ["Nova_1", "nova_1"]),
        ("[!n]*", ["Nova_1", "odd[name", 'quo"ted\n', "ä"]),
        ("odd[[]name", ["odd[name"]),
        ("nova", []),
    ],
)
def test_a_pattern_is_one_of_a_shell(pattern: str, taken: list[str]) -> None:
    names = ["Nova_1", "nova_1", "nova_10", "odd[name", 'quo"ted\n', "ä"]

    found = match_databases(target(DatabasePattern(pattern)), names)

    assert [database.datname for database in found] == taken


def test_the_first_pattern_decides_and_an_excluded_name_may_be_anothers() -> None:
    first = DatabasePattern("nova_*", ("nova_old*",), (MANIFEST,), "all")
    second = DatabasePattern("*", ("other",), (), ("public.*",))

    found = match_databases(target(first, second), ["nova_1", "nova_old1", "other"])

    assert found == (
        Database("nova_1", CONNINFO, (MANIFEST,), "all"),
        Database("nova_old1", CONNINFO, (), ("public.*",)),
    )


def test_a_database_with_an_entry_of_its_own_belongs_to_no_pattern() -> None:
    assert match_databases(target(DatabasePattern("*"), names=("a",)), ["a", "b"]) == (
        Database("b", CONNINFO),
    )


def test_without_patterns_nothing_is_taken() -> None:
    assert match_databases(target(names=("a",)), ["a", "b"]) == ()
