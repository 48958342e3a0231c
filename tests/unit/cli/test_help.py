"""What --help prints: at 80 columns, the same in every version of Python."""

import re
from collections.abc import Callable

import pytest

from exporter.cli import main
from exporter.cli.help import COMMANDS
from exporter.cli.parser import build_parser, parse


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns; since Python 3.14 argparse would colour its help."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)], ids=lambda words: " ".join(words))
def test_help_reads_as_it_did(
    words: list[str], capsys: pytest.CaptureFixture[str], golden: Callable[[str, str], None]
) -> None:
    text = help_of(words, capsys)

    assert [line for line in text.splitlines() if len(line) > 80] == []
    golden(f"help_{words[0] if words else 'pg-index-exporter'}.txt", text)


def test_every_example_parses_and_every_command_has_its_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, command in COMMANDS.items():
        assert parse(command.example.split()).command == name
        text = help_of([name], capsys)
        assert f"  pg-index-exporter {command.example}\n" in text
        assert re.search(r"^exit codes:\n  0 ", text, re.MULTILINE), name


def test_a_flag_means_something_in_its_command() -> None:
    flags = {name: parser_flags(name) for name in COMMANDS}

    assert {name for name, found in flags.items() if "--index" in found} == {
        "plan",
        "preflight",
        "init",
        "status",
        "verify",
        "rollback",
    }
    printing = {name for name, found in flags.items() if {"--format", "--report"} <= found}
    assert printing == {"check", "plan", "preflight", "init", "status", "verify", "rollback"}
    assert not {"--manifest", "--journal-schema", "--index", "--format"} & flags["import"]


def parser_flags(name: str) -> set[str]:
    (commands,) = [action for action in build_parser()._actions if action.dest == "command"]
    assert commands.choices is not None
    parser = dict(commands.choices)[name]
    return set(re.findall(r"(--[a-z][a-z.-]*)", parser.format_help()))
