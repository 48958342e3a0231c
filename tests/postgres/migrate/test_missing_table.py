"""A declared table that the database lacks: a finding with the same exit code in every command."""

from pathlib import Path

import pytest

from exporter.cli import main
from tests.conftest import TestDatabase
from tests.support.builds import indexes_of, journal_of

MANIFEST = """\
migration: 001_test
indexes:
- {name: idx_a, table: nowhere, columns: [id]}
- {name: idx_b, table: gone, columns: [id]}
- {name: idx_c, table: messages, columns: [id]}
"""


@pytest.mark.parametrize(
    "command", [["init", "--yes"], ["plan"], ["preflight"], ["verify"], ["status"], ["rollback", "--yes"]]
)
def test_every_command_names_all_missing_tables_and_exits_with_one(
    shop: TestDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    with journal_of(shop):
        pass
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(MANIFEST)
    monkeypatch.setenv("PG_INDEX_EXPORTER_DSN", shop.dsn)

    exit_code = main([*command, "--manifest", str(manifest)])

    shown = " ".join("".join(capsys.readouterr()).split())
    assert "there is no table public.nowhere" in shown
    assert "there is no table public.gone" in shown
    assert (exit_code, indexes_of(shop)) == (1, {})
