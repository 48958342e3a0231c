"""The preflight's table in each form, whatever names and messages hold; its exit code."""

import json
from datetime import UTC, datetime

import pytest

from exporter.migrate.preflight.disk.estimate import SpaceNeeded, needed_together
from exporter.migrate.preflight.findings import failed, passed, unknown, warned
from exporter.migrate.report import PREFLIGHT_FORMS, preflight_exit_code
from exporter.model import Finding, Readiness
from exporter.text.characters import columns_of

ODD = 'i`d"x|<b>\n# \x1b[31m\u202e' + "索" * 60
PASS = passed("version", "the server", "PostgreSQL 18.6", server_version_num=180006)
WARN = warned("blockers", ODD, "would_wait", ODD, ODD)
FAIL = failed("a check with a name that is long", ODD, "reason", "found " * 40, "hint " * 40)
UNKNOWN = unknown("disk", "the server", "no_source", "not known", "say it")
NO_BACKUP = unknown("backup", "the server", "no_command", "not known", "say it")


def readiness(*findings: Finding) -> Readiness:
    at = datetime(2026, 8, 20, 14, 3, 11, tzinfo=UTC)
    return Readiness("090", "nova", "database 'nova' at db:5432", "18.6", at, findings)


def test_the_table_fits_a_terminal_and_acts_upon_none() -> None:
    lines = PREFLIGHT_FORMS["text"](readiness(PASS, WARN, FAIL, UNKNOWN, NO_BACKUP)).split("\n")

    assert max(map(columns_of, lines)) <= 80
    assert all(line.isprintable() and line == line.rstrip() for line in lines)
    assert "init would refuse to start: 1 pass, 1 warn, 1 fail, 2 unknown." in lines
    assert "  pass     version               PostgreSQL 18.6" in lines
    assert "  unknown  no source for disk (--free-bytes), backup (--backup-command)" in lines


def test_markdown_keeps_its_cells() -> None:
    text = PREFLIGHT_FORMS["markdown"](readiness(PASS, WARN, FAIL))
    rows = [line for line in text.split("\n") if line.startswith("| ")]

    assert [row.replace("\\|", "").count("|") for row in rows] == [6] * 5
    assert "<b>" not in text


def test_json_has_every_finding_with_its_facts() -> None:
    document = json.loads(PREFLIGHT_FORMS["json"](readiness(PASS, WARN)))

    assert document["findings"][0]["facts"] == {"server_version_num": 180006}
    assert document["findings"][1]["subject"] == ODD
    assert (document["exit_code"], document["schema_version"]) == (0, 1)


@pytest.mark.parametrize(
    ("finding", "code", "strict_code"), [(PASS, 0, 0), (WARN, 0, 0), (UNKNOWN, 0, 1), (FAIL, 1, 1)]
)
def test_only_a_failure_refuses_and_when_strict_the_unknown(
    finding: Finding, code: int, strict_code: int
) -> None:
    assert preflight_exit_code([PASS, finding]) == code
    assert preflight_exit_code([PASS, finding], strict=True) == strict_code


@pytest.mark.parametrize(("max_parallel", "temporary"), [(None, 70 + 50 + 20), (2, 70 + 50), (1, 70)])
def test_the_largest_sorts_of_those_at_once_count(max_parallel: int | None, temporary: int) -> None:
    by_table = [SpaceNeeded(100, sort, 100) for sort in (20, 70, 50)]
    needed = needed_together(by_table, max_parallel=max_parallel)

    assert (needed.index_bytes, needed.temporary_bytes, needed.wal_bytes) == (300, temporary, 300)
