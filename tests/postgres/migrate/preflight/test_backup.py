"""The command that proves a backup."""

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.migrate.init import initialise
from exporter.migrate.options import BuildOptions, RunOptions
from exporter.model import BackupCommand, Verdict
from tests.conftest import TestDatabase
from tests.postgres.migrate.preflight.looking import INDEX, OPTIONS, findings_of, only
from tests.postgres.migrate.running import QUICK
from tests.support.builds import as_declared, indexes_of
from tests.support.declared import manifest_of


@pytest.mark.parametrize(
    ("words", "seconds", "verdict", "reason"),
    [
        (("true",), 30, Verdict.PASS, "ok"),
        (("false",), 30, Verdict.FAIL, "command_failed"),
        (("no-such-program-here",), 30, Verdict.FAIL, "not_started"),
        (("sleep", "60"), 0.2, Verdict.FAIL, "timed_out"),
    ],
)
def test_a_command_proves_a_backup(
    shop: TestDatabase, words: tuple[str, ...], seconds: float, verdict: Verdict, reason: str
) -> None:
    finding = only(
        findings_of(shop, options=replace(OPTIONS, backup=BackupCommand(words, seconds))), "backup"
    )

    assert (finding.verdict, finding.reason) == (verdict, reason)


def test_what_proved_the_backup_is_in_the_journal(shop: TestDatabase) -> None:
    manifest = replace(manifest_of(INDEX), backup=BackupCommand(("echo", "label 42, password=hunter2")))
    outcome = initialise(as_declared(shop), manifest, RunOptions(build=BuildOptions(steps=QUICK)))
    ((kept,),) = shop.execute("SELECT detail -> 'backup' FROM migration_events WHERE phase = 'planned'")

    assert only(outcome.preflight, "backup").verdict is Verdict.PASS
    assert (kept["exit_code"], kept["output"]) == (0, "label 42, password=***")
    assert kept["command"] == "echo label 42, password=***"
    assert kept["seconds"] >= 0


def test_without_a_backup_nothing_is_built(shop: TestDatabase) -> None:
    manifest = replace(manifest_of(INDEX), backup=BackupCommand(("false",)))
    outcome = initialise(as_declared(shop), manifest, RunOptions())

    assert only(outcome.preflight, "backup").reason == "command_failed"
    assert outcome.results == ()
    assert indexes_of(shop) == {}
    assert shop.execute("SELECT to_regclass('migration_events')::text") == [(None,)]


def test_a_command_learns_the_server_and_no_secret(
    shop: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PG_INDEX_EXPORTER_DSN", shop.dsn)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-long-secret")
    script = 'echo "$PGHOST:$PGPORT/$PGDATABASE [$PG_INDEX_EXPORTER_DSN] $AWS_SECRET_ACCESS_KEY password=x9y"'
    command = BackupCommand(("sh", "-c", script))
    output = dict(only(findings_of(shop, options=replace(OPTIONS, backup=command)), "backup").facts)["output"]

    assert output == f"{shop.server.host}:{shop.server.port}/{shop.name} [] *** password=***"


def test_words_are_no_shell_and_output_is_bounded(shop: TestDatabase) -> None:
    command = BackupCommand(("printf", "%s", "$(id); " + "x" * 100_000))
    output = dict(only(findings_of(shop, options=replace(OPTIONS, backup=command)), "backup").facts)["output"]

    assert isinstance(output, str)
    assert len(output) == 200
    assert "uid=" not in output


def test_it_is_not_run_where_nothing_may_be_touched(shop: TestDatabase, tmp_path: Path) -> None:
    command = BackupCommand(("touch", str(tmp_path / "ran")))
    options = replace(OPTIONS, backup=command, runs_backup_command=False)

    assert only(findings_of(shop, options=options), "backup").reason == "not_run"
    assert not (tmp_path / "ran").exists()
