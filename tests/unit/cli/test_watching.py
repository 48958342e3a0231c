"""Flags for sessions in the way: what they come to, and what is refused."""

import pytest

from exporter.cli.change import _watch_options
from exporter.cli.parser import build_parser
from exporter.errors import SettingsError
from exporter.migrate.watch.policy import BlockerPolicy, Patterns, VictimPolicy, WatchOptions


def options(*flags: str, command: str = "init") -> WatchOptions:
    return _watch_options(build_parser().parse_args([command, *flags]))


@pytest.mark.parametrize("command", ["init", "rollback", "verify"])
def test_without_flags_everybody_is_waited_for(command: str) -> None:
    assert options(command=command) == WatchOptions()
    assert WatchOptions().on_blocker is BlockerPolicy.WAIT
    assert WatchOptions().on_victim is VictimPolicy.WAIT


def test_every_flag_is_taken() -> None:
    flags = "--on-blocker terminate --blocker-limit-seconds 60 --on-victim yield --victim-limit-seconds 5 "
    flags += "--quiesce-seconds 0 --table-budget-seconds 1 --writers-budget-seconds 2.5 "
    flags += "--snapshots-budget-seconds 0 --only-application web* --only-application job "
    flags += "--only-user app --only-database nova_*"

    assert options(*flags.split()) == WatchOptions(
        quiesce_seconds=0.0,
        table_budget_seconds=1.0,
        writers_budget_seconds=2.5,
        snapshots_budget_seconds=0.0,
        on_blocker=BlockerPolicy.TERMINATE,
        blocker_limit_seconds=60.0,
        on_victim=VictimPolicy.YIELD,
        victim_limit_seconds=5.0,
        patterns=Patterns(("web*", "job"), ("app",), ("nova_*",)),
    )


@pytest.mark.parametrize(
    "flags",
    [["--on-blocker", "terminate"], ["--on-blocker", "cancel"], ["--on-victim", "cancel"]],
)
def test_nobody_is_touched_whom_no_pattern_names(flags: list[str]) -> None:
    with pytest.raises(SettingsError, match="it is not said which") as caught:
        options(*flags)
    assert "--only-application" in (caught.value.mend or "")


def test_patterns_without_a_policy_are_a_mistake() -> None:
    with pytest.raises(SettingsError, match="nothing touches any"):
        options("--only-user", "app", "--on-victim", "yield")


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "soon"])
def test_what_is_no_number_of_seconds_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        options(f"--blocker-limit-seconds={text}")
    assert caught.value.code == 2
    assert "invalid seconds value" in capsys.readouterr().err
