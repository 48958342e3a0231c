"""Policies that stand in the settings file do what the same flags do."""

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from exporter.cli import main
from tests.conftest import TestDatabase
from tests.support.builds import fill_shop, indexes_of

MANIFEST = "migration: m\nindexes:\n- {name: idx_m, table: messages, columns: [sender_id]}\n"


@pytest.fixture
def settings(database: TestDatabase, tmp_path: Path) -> Path:
    """Settings whose policy may end sessions of one application, and whose targets tell of their disks."""
    fill_shop(database)
    (tmp_path / "m.yaml").write_text(MANIFEST)
    (tmp_path / "dsn").write_text(database.dsn)
    file = tmp_path / "settings.yaml"
    file.write_text(
        "on_blocker: terminate\nblocker_limit_seconds: 0\nquiesce_seconds: 0\nonly_application: [night*]\n"
        "targets:\n"
        f"- {{name: main, dsn_file: dsn, databases: [{{name: {database.name}, manifests: [m.yaml]}}],\n"
        "   free_bytes: 1kB}\n"
        "- {name: archive, dsn: 'postgresql://u@h/d', databases: [d], free_bytes: 1TB}\n"
    )
    return file


def test_a_policy_of_the_file_ends_whom_its_patterns_name(
    database: TestDatabase, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn = make_conninfo(database.dsn, application_name="nightly")
    with psycopg.connect(dsn) as writer:
        writer.execute("DELETE FROM messages WHERE false")
        # The flag prevails over what the file says of the only target with a manifest.
        code = main(["init", "--yes", "--config.file", str(settings), "--free-bytes", "1TB"])
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            writer.execute("SELECT 1")

    assert code == 0, capsys.readouterr()
    assert indexes_of(database) == {"idx_m": True}
    ended = database.execute("SELECT detail ->> 'action' FROM migration_events WHERE detail ? 'action'")
    assert {action for (action,) in ended} == {"terminate"}


def test_the_disk_of_the_target_refuses(
    database: TestDatabase, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preflight", "--config.file", str(settings)]) == 1
    assert "1024 bytes are free" in capsys.readouterr().out
    assert main(["init", "--yes", "--config.file", str(settings)]) == 1
    assert indexes_of(database) == {}
