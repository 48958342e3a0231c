"""The shapes of `databases:`: names, patterns, all; which manifests and what else goes with a pattern."""

from pathlib import Path

import pytest

from exporter.model import DatabasePattern, Target
from exporter.settings.binding import resolve_targets
from exporter.settings.connection.conninfo import parse_dsn
from tests.unit.settings.test_loading import CANARY, faults_of, load, write_manifest


def target_of(folder: Path, databases: str, more: str = "host: h") -> Target:
    (target,) = resolve_targets(
        load(folder, f"targets:\n  - name: one\n    user: u\n    {more}\n    databases: {databases}\n")
    )
    return target


def patterns_of(target: Target) -> list[str]:
    return [pattern.pattern for pattern in target.patterns]


@pytest.mark.parametrize(
    ("databases", "names", "patterns"),
    [
        ("all", [], ["*"]),
        ("[all]", [], ["*"]),
        ("[{name: all}]", ["all"], []),
        ("nova_*", [], ["nova_*"]),
        ("nova_?,app,nova_[ab]", ["app"], ["nova_?", "nova_[ab]"]),
        ("['nova_*', app]", ["app"], ["nova_*"]),
        ("[{pattern: app}, {name: 'odd*'}]", ["odd*"], ["app"]),
        ("{pattern: 'nova_*', exclude: nova_old}", [], ["nova_*"]),
    ],
)
def test_a_database_is_a_name_or_a_pattern(
    tmp_path: Path, databases: str, names: list[str], patterns: list[str]
) -> None:
    target = target_of(tmp_path, databases)

    assert [database.datname for database in target.databases] == names
    assert patterns_of(target) == patterns


def test_what_is_listed_for_a_pattern_stays_with_it(tmp_path: Path) -> None:
    write_manifest(tmp_path)
    entry = "{pattern: 'nova_*', exclude: ['*_old', nova_x], manifests: [m1.yaml], watch: all}"

    target = target_of(tmp_path, f"[{entry}, {{pattern: '*'}}]", "host: h\n    watch: ['public.*']")

    first, second = target.patterns
    assert (first.pattern, first.exclude, first.watch) == ("nova_*", ("*_old", "nova_x"), "all")
    assert [manifest.migration for manifest in first.manifests] == ["m1"]
    assert second == DatabasePattern("*", watch=("public.*",))


@pytest.mark.parametrize(("dsn", "expected"), [("host=h dbname=app", "app"), ("host=h", "postgres")])
def test_patterns_are_asked_for_in_the_database_of_the_dsn_or_in_postgres(
    tmp_path: Path, dsn: str, expected: str
) -> None:
    target = target_of(tmp_path, "all", f"dsn: {dsn}")

    assert target.maintenance is not None
    assert target.maintenance.datname == expected
    assert parse_dsn(target.maintenance.conninfo.get_secret_value())["host"] == "h"


def test_names_need_no_question(tmp_path: Path) -> None:
    assert target_of(tmp_path, "[a, b]").maintenance is None


def test_patterns_may_come_from_variables() -> None:
    (target,) = resolve_targets(
        load(
            PG_INDEX_EXPORTER_TARGETS__0__NAME="one",
            PG_INDEX_EXPORTER_TARGETS__0__DSN="host=h user=u",
            PG_INDEX_EXPORTER_TARGETS__0__DATABASES__0__PATTERN="nova_*",
            PG_INDEX_EXPORTER_TARGETS__0__DATABASES__0__EXCLUDE="nova_a,nova_b",
        )
    )

    assert target.patterns == (DatabasePattern("nova_*", ("nova_a", "nova_b")),)


@pytest.mark.parametrize(
    ("databases", "what"),
    [
        ("[all, app]", "`all` among other databases"),
        ("[{manifests: []}]", "neither name nor pattern"),
        ("[{name: a, pattern: b}]", "both name and pattern"),
        ("[{name: a, exclude: [b]}]", "exclude belongs to a pattern"),
        ("[{pattern: ''}]", "not a pattern"),
        ("[{pattern: a, exclude: ['']}]", "not a pattern"),
        ("['a*', {pattern: 'a*'}]", "pattern 'a*' is listed 2 times"),
        ("[{pattern: 'a*', name_like: b}]", "unknown key 'name_like'"),
        (f"[{{pattern: 'postgres://u:{CANARY}@h/*'}}]", "not a pattern"),
        (f"['postgres://u:{CANARY}@h/d?sslmode=require']", "not a pattern"),
    ],
)
def test_a_faulty_database_is_told_with_its_place(tmp_path: Path, databases: str, what: str) -> None:
    text = f"targets:\n  - name: one\n    host: h\n    user: u\n    databases: {databases}\n"

    (fault,) = faults_of(tmp_path, text)

    assert what in fault.what
    assert fault.place == f"{tmp_path}/settings.yaml:5"
    assert CANARY not in str(fault)


def test_a_manifest_for_a_pattern_has_to_be_bound_there(tmp_path: Path) -> None:
    write_manifest(tmp_path)

    (fault,) = faults_of(
        tmp_path, "manifests: [m1.yaml]\ntargets: [{name: a, host: h, user: u, databases: all}]\n"
    )

    assert fault.what.endswith("m1.yaml is bound to no database, and there may be several")


def test_one_manifest_twice_for_a_pattern_is_bound_once(tmp_path: Path) -> None:
    write_manifest(tmp_path)

    target = target_of(tmp_path, "[{pattern: '*', manifests: [m1.yaml, ./m1.yaml]}]")

    assert len(target.patterns[0].manifests) == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://metrics.example.org", "https://metrics.example.org"),
        ("http://host:10187/indexes/", "http://host:10187/indexes"),
        ("http://[::1]:10187", "http://[::1]:10187"),
    ],
)
def test_an_external_url_is_taken(given: str, kept: str) -> None:
    assert load(PG_INDEX_EXPORTER_WEB_EXTERNAL_URL=given).web_external_url == kept


@pytest.mark.parametrize(
    "given",
    [
        "metrics.example.org",
        "ftp://h",
        f"http://u:{CANARY}@h",
        "http://h:66000",
        "http://h/?a=b",
        "http://h/#a",
    ],
)
def test_an_external_url_of_another_form_is_a_fault(given: str) -> None:
    (fault,) = faults_of(PG_INDEX_EXPORTER_WEB_EXTERNAL_URL=given)

    assert fault.place == "PG_INDEX_EXPORTER_WEB_EXTERNAL_URL"
    assert CANARY not in str(fault)
