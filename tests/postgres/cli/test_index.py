"""`--index`: one declared index is built, verified and dropped, and the others are left alone."""

import json
from pathlib import Path

import pytest

from exporter.cli import main
from tests.conftest import TestDatabase
from tests.support.builds import fill_shop, indexes_of

MANIFEST = """\
migration: 001_test
indexes:
- {name: idx_sender, table: messages, columns: [sender_id]}
- {name: idx_posts, table: posts, columns: [sender_id]}
"""


def test_the_other_indexes_are_left_alone(
    database: TestDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill_shop(database)
    manifest = tmp_path / "m.yaml"
    manifest.write_text(MANIFEST, encoding="utf-8")
    monkeypatch.setenv("PG_INDEX_EXPORTER_DSN", database.dsn)

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main([*words, "--manifest", str(manifest)])
        return code, capsys.readouterr().out

    code, text = run("init", "--yes", "--index", "public.idx_sender", "--format", "json")
    assert (code, indexes_of(database)) == (0, {"idx_sender": True}), text
    assert {step["relname"] for step in json.loads(text)["plan"]["steps"]} == {"messages"}
    last = "SELECT phase, detail -> 'limited_to' FROM migration_log WHERE index_name IS NULL"
    assert database.execute(last) == [("done", ["idx_sender"])]

    code, text = run("status", "--index", "idx_sender", "--format", "json")
    assert (code, [one["indexname"] for one in json.loads(text)["indexes"]]) == (0, ["idx_sender"])
    assert run("verify", "--index", "idx_sender")[0] == 0
    assert run("verify")[0] == 1
    assert run("init", "--yes")[0] == 0
    assert indexes_of(database) == {"idx_sender": True, "idx_posts": True}

    code, text = run("rollback", "--yes", "--index", "idx_posts", "--format", "json")
    assert (code, indexes_of(database)) == (0, {"idx_sender": True}), text
    # What the migration created otherwise is declared, if not in this run.
    assert "declared" not in {finding["criterion"] for finding in json.loads(text)["preflight"]}
