"""What only looks leaves no trace: no committed transaction, no relation, no session, no journal."""

import argparse
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from exporter.cli import main
from exporter.cli.parser import build_parser
from tests.conftest import OwnServer, TestDatabase
from tests.support.waiting import wait_for

MANIFEST = """
migration: 001_test
indexes:
  - name: idx_sender
    table: public.messages
    columns: [sender_id]
    probes:
      - sql: SELECT id FROM messages WHERE sender_id = %(sender_id)s
        sample: SELECT sender_id FROM messages LIMIT 3
"""
ONLY_LOOKS = [
    ["init", "--dry-run"],
    ["rollback", "--dry-run"],
    ["preflight"],
    ["plan"],
    ["status"],
    ["verify"],
    ["check"],
]


@pytest.fixture
def shop(own_server: OwnServer, monkeypatch: pytest.MonkeyPatch) -> TestDatabase:
    """A database on a server that remembers its last commit, and where nobody else commits."""
    server = own_server({"track_commit_timestamp": "on", "autovacuum": "off"})
    database = TestDatabase(server, "postgres")
    database.execute(
        "CREATE TABLE messages AS SELECT g AS id, g % 10 AS sender_id FROM generate_series(1, 5000) g"
    )
    monkeypatch.setenv("PG_INDEX_EXPORTER_DSN", database.dsn)
    return database


def traces(database: TestDatabase) -> dict[str, Any]:
    """Everything that a command could leave in the server."""
    others = sql.SQL(
        "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'pg-index-exporter%'"
    )
    wait_for("the end of its sessions", lambda: True if database.execute(others) == [] else None)
    return {
        "last commit": database.execute("SELECT xid::text, timestamp::text FROM pg_last_committed_xact()"),
        "relations": database.execute("SELECT oid, xmin::text, relfilenode FROM pg_class ORDER BY oid"),
        "indexes": database.execute("SELECT indexrelid, xmin::text FROM pg_index ORDER BY indexrelid"),
        "locks": database.execute("SELECT locktype FROM pg_locks WHERE pid <> pg_backend_pid() AND granted"),
    }


def test_what_only_looks_leaves_no_trace(
    shop: TestDatabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(MANIFEST, encoding="utf-8")
    before = traces(shop)

    for words in ONLY_LOOKS:
        main([*words, "--manifest", str(path)])
        assert traces(shop) == before, words
    assert "there is none in schema public" in capsys.readouterr().out
    statements = tmp_path / "given.sql"
    statements.write_text("CREATE INDEX idx_other ON messages (id)", encoding="utf-8")
    assert main(["import", str(statements)]) == 0
    assert traces(shop) == before
    # What changes something wants to be told so where nobody can be asked.
    assert main(["init", "--manifest", str(path)]) == 2
    assert traces(shop) == before

    # And with a journal and an index to drop.
    assert main(["init", "--yes", "--manifest", str(path)]) == 0
    before = traces(shop)
    assert before["relations"] != []
    for words in ONLY_LOOKS:
        main([*words, "--manifest", str(path)])
        assert traces(shop) == before, words
    assert "DROP INDEX CONCURRENTLY" in capsys.readouterr().out
    assert main(["rollback", "--manifest", str(path)]) == 2
    assert "add --yes, or --dry-run" in capsys.readouterr().err
    assert traces(shop) == before


def test_every_command_that_changes_something_can_be_tried_and_asks() -> None:
    parser = build_parser()
    (commands,) = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    flags = {name: one.format_help() for name, one in commands.choices.items()}

    changing = {"init", "rollback"}
    assert {name for name, text in flags.items() if "--dry-run" in text} == changing
    assert {name for name, text in flags.items() if "--yes" in text} == changing
    looking = {words[0] for words in ONLY_LOOKS} - changing
    # These meet no index of a database; demo has a server of its own, and import is tried above.
    assert set(flags) - changing - looking == {"serve", "healthcheck", "demo", "import"}
