"""Commands planted in every field of a manifest: an error, or a literally strange name, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.errors import ExporterError
from exporter.manifest.loader import load_manifest
from exporter.migrate.init import initialise
from exporter.migrate.options import RunOptions
from tests.conftest import TestDatabase
from tests.support.builds import as_declared

PLANTED = [
    "id; commit; drop table waiter",
    "id); commit; drop table waiter; --",
    "id) ; DROP TABLE waiter ; create index on target (id",
    "id); rollback; begin; drop table waiter; commit; --",
    "id --",
    "id /*",
    "id */",
    "$$; drop table waiter; $$",
    "$sql$; drop table waiter; $sql$",
    "'; drop table waiter; --",
    '"; drop table waiter; --',
    "id\n) ; drop table waiter",
    "((id",
    "id))",
    "\\; drop table waiter",
    "\\! touch planted",
    ":'waiter'",
    "%(x)s; drop table waiter",
    "id\u2028; drop table waiter",
]
FIELDS = [
    "migration",
    "search_path",
    "analyze",
    "name",
    "table",
    "method",
    "columns",
    "include",
    "with",
    "tablespace",
    "where",
    "not_null",
    "probe name",
    "probe sql",
    "probe sample",
]


# What is a name may be any text, as long as it is quoted.
NAMES = {"search_path", "analyze", "name", "table", "method", "tablespace", "not_null"}


def document_with(field: str, planted: str, *, quoted: bool) -> dict[str, Any]:
    """A manifest that is good but for what stands in one field; a name may be quoted as a name is."""
    text = '"' + planted.replace('"', '""') + '"' if quoted else planted
    probe = {"name": "p", "sql": "SELECT id FROM target WHERE id = %(id)s", "sample": "SELECT id FROM target"}
    index: dict[str, Any] = {"name": "idx", "table": "target", "columns": ["id"], "probes": [probe]}
    document: dict[str, Any] = {"migration": "001_planted", "indexes": [index]}
    match field.split():
        case ["migration"]:
            document["migration"] = text
        case ["search_path" | "analyze"]:
            document[field] = [text]
        case ["columns" | "include" | "with" | "not_null"]:
            index[field] = [text]
        case ["probe", key]:
            probe[key] = text
        case _:
            index[field] = text
    return document


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_planted_does_nothing(database: TestDatabase, tmp_path: Path, field: str) -> None:
    database.execute("CREATE TABLE target AS SELECT g AS id FROM generate_series(1, 50) g")
    database.execute("CREATE TABLE waiter AS SELECT 1 AS id")
    relations = (
        "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace"
    )
    refused = 0
    file = tmp_path / "planted.yaml"
    for planted in PLANTED:
        for quoted in (False, True) if field in NAMES else (False,):
            document = document_with(field, planted, quoted=quoted)
            file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
            try:
                manifest = load_manifest(file)
                initialise(as_declared(database), manifest, RunOptions(probe_budget_seconds=1))
            except ExporterError:
                refused += 1
            # The journal is all that may have come.
            assert database.execute(relations)[0][0] in (2, 4), (planted, quoted)
            assert database.execute("SELECT id FROM waiter") == [(1,)], (planted, quoted)

    assert refused or field in ("name", "where", "probe name", "probe sql", "probe sample")


def test_a_probe_that_writes_writes_nothing(database: TestDatabase, tmp_path: Path) -> None:
    database.execute("CREATE TABLE target AS SELECT g AS id FROM generate_series(1, 50) g")
    database.execute("CREATE TABLE waiter AS SELECT 1 AS id")
    file = tmp_path / "writes.yaml"
    for key, text in (
        ("sql", "DELETE FROM waiter WHERE id = %(id)s"),
        ("sql", "WITH gone AS (DELETE FROM waiter RETURNING id) SELECT id FROM gone WHERE id = %(id)s"),
        ("sample", "DELETE FROM waiter RETURNING id"),
        ("sample", "WITH gone AS (DELETE FROM waiter RETURNING id) SELECT id FROM gone"),
    ):
        document = document_with(f"probe {key}", text, quoted=False)
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        initialise(as_declared(database), load_manifest(file), RunOptions(probe_budget_seconds=1))

        assert database.execute("SELECT id FROM waiter") == [(1,)], text
