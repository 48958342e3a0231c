"""All findings of a migration at once, by the command and as it is called."""

import json
from pathlib import Path

import pytest
from psycopg import sql

from exporter.cli import main
from exporter.migrate.options import RunOptions
from exporter.migrate.readiness import check_readiness
from exporter.model import Verdict
from tests.conftest import TestDatabase
from tests.postgres.migrate.preflight.looking import INDEX, OPTIONS, only, told
from tests.support.builds import as_declared, leave_invalid
from tests.support.declared import declare, manifest_of
from tests.support.roles import PASSWORD

READINESS = RunOptions(preflight=OPTIONS)


def test_the_command_tells_all_and_its_exit_code(
    shop: TestDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "migration: m\nbackup: {command: [echo, done], timeout_seconds: 10}\n"
        "indexes:\n- {name: i, table: messages, columns: [sender_id]}\n"
    )
    monkeypatch.setenv("PG_INDEX_EXPORTER_DSN", shop.dsn)

    def run(*flags: str) -> tuple[int, str]:
        code = main(["preflight", "--manifest", str(manifest), *flags])
        return code, capsys.readouterr().out

    code, text = run()
    assert code == 0
    assert max(map(len, text.splitlines())) <= 80
    assert "init would start" in text
    assert run("--strict")[0] == 1
    assert run("--strict", "--free-bytes", "1TB")[0] == 0
    code, text = run("--free-bytes", "1kB", "--format", "json")
    document = json.loads(text)
    assert (code, document["exit_code"]) == (1, 1)
    kinds = [one for one in document["findings"] if one["criterion"] == "table kind"]
    assert [(one["verdict"], one["found"]) for one in kinds] == [("pass", "an ordinary table")]
    (disk,) = (one for one in document["findings"] if one["criterion"] == "disk")
    assert (disk["verdict"], disk["facts"]["free_bytes"]) == ("fail", 1024)
    assert run("--format", "markdown")[1].startswith("# pg-index-exporter preflight m\n")
    shop.execute("ALTER TABLE messages RENAME COLUMN sender_id TO other")
    code, text = run("--format", "json")
    assert code == 1
    assert [one["reason"] for one in json.loads(text)["findings"] if one["criterion"] == "definition"] == [
        "refused"
    ]


@pytest.mark.parametrize(
    ("statement", "table", "verdict", "found"),
    [
        ("CREATE TABLE other (id int) PARTITION BY RANGE (id)", "other", Verdict.PASS, "a partitioned table"),
        ("CREATE MATERIALIZED VIEW other AS SELECT 1 AS id", "other", Verdict.PASS, "a materialized view"),
        ("CREATE VIEW other AS SELECT 1 AS id", "other", Verdict.FAIL, "public.other is a view and cannot "),
        ("CREATE SEQUENCE other", "other", Verdict.FAIL, "public.other is a sequence and cannot "),
        ("SELECT", "other", Verdict.FAIL, "there is no table public.other"),
        ("SELECT", "pg_catalog.pg_class", Verdict.FAIL, "pg_catalog.pg_class is a system catalog"),
    ],
)
def test_what_can_have_no_index_is_told(
    shop: TestDatabase, statement: str, table: str, verdict: Verdict, found: str
) -> None:
    shop.execute(sql.SQL(statement))
    index = declare("i", table, "relkind" if table.startswith("pg_") else "id")
    findings = check_readiness(as_declared(shop), manifest_of(INDEX, index, analyze=()), READINESS).findings
    kinds = {one.subject: one for one in findings if one.criterion == "table kind"}

    assert kinds["public.messages"].verdict is Verdict.PASS
    assert (kinds[index.table.quoted].verdict, kinds[index.table.quoted].found[: len(found)]) == (
        verdict,
        found,
    )


def test_a_declaration_that_the_server_refuses_does_not_hide_the_rest(shop: TestDatabase) -> None:
    wrong = declare("i", "messages", "no_such_column")
    findings = check_readiness(as_declared(shop), manifest_of(wrong, analyze=()), READINESS).findings

    assert [verdict for verdict, _ in told(findings, "definition").values()] == [Verdict.FAIL]
    assert told(findings, "estimate") == {"public.i": (Verdict.UNKNOWN, "not_planned")}
    assert only(findings, "archiving").verdict is Verdict.PASS


def test_what_bears_the_name_already_is_told(shop: TestDatabase) -> None:
    taken = declare("idx_taken", "messages", "content")
    left = declare("idx_left", "messages", "created_at")
    missing = declare("idx_missing", "messages", "status")
    shop.execute("CREATE INDEX idx_taken ON messages (status)")
    leave_invalid(shop, sql.SQL("CREATE INDEX CONCURRENTLY idx_left ON messages (created_at)"))
    manifest = manifest_of(taken, left, missing, analyze=())

    assert told(check_readiness(as_declared(shop), manifest, READINESS).findings, "definition") == {
        "public.idx_taken": (Verdict.FAIL, "conflict"),
        "public.idx_left": (Verdict.FAIL, "invalid_foreign"),
        "public.idx_missing": (Verdict.PASS, "ok"),
    }


def test_who_may_not_build_is_told_all_that_can_be_seen(shop: TestDatabase, stranger: str) -> None:
    index = declare("u", "messages", "id", unique=True)
    declared = as_declared(shop, stranger, PASSWORD)
    findings = check_readiness(declared, manifest_of(index, analyze=("posts",)), READINESS).findings

    assert told(findings, "definition") == {"the database": (Verdict.UNKNOWN, "not_tried")}
    assert told(findings, "duplicates") == {"public.u": (Verdict.UNKNOWN, "not_compiled")}
    assert told(findings, "ownership") == {"public.messages": (Verdict.FAIL, "not_owner")}
    assert told(findings, "may analyze") == {"public.posts": (Verdict.FAIL, "not_owner")}
    assert told(findings, "table kind") == {"public.messages": (Verdict.PASS, "ok")}
    assert told(findings, "wraparound")["the database"] == (Verdict.PASS, "ok")
