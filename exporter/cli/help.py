"""What --help says of each command: its purpose, an example and its exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

_USAGE = "2 flags, settings or manifest are wrong"
_UNREACHABLE = "4 a database cannot be reached, or refuses the login"


@dataclass(frozen=True, slots=True)
class CommandHelp:
    """The purpose in one line, an example that runs, and the exit codes."""

    purpose: str
    example: str
    exit_codes: tuple[str, ...]
    operands: str = ""


COMMANDS: Mapping[str, CommandHelp] = {
    "check": CommandHelp(
        "check that serve will work with these settings",
        "check --config.file settings.yaml",
        ("0 nothing failed", "1 something failed", _USAGE, _UNREACHABLE),
    ),
    "plan": CommandHelp(
        "show what init would do, with estimates; change nothing",
        "plan --manifest indexes.yaml",
        ("0 init would start", "1 init would refuse to start", _USAGE, _UNREACHABLE),
    ),
    "preflight": CommandHelp(
        "check what must hold before init builds; change nothing",
        "preflight --manifest indexes.yaml",
        ("0 init would start", "1 init would refuse to start", _USAGE, _UNREACHABLE),
    ),
    "init": CommandHelp(
        "build the declared indexes without downtime",
        "init --manifest indexes.yaml --report report.md",
        (
            "0 done, or nothing to do",
            "1 refused, or failed and left nothing behind",
            f"{_USAGE}; nothing was changed",
            "3 an INVALID index was left behind",
            "4 a decision is needed, the server still builds, or it cannot be reached",
        ),
    ),
    "status": CommandHelp(
        "show the state of every declared index, and whether it is used",
        "status --manifest indexes.yaml",
        (
            "0 all are as declared",
            "1 one is absent, or was not compared",
            _USAGE,
            "3 one is INVALID",
            "4 a decision is needed, a build is running, or no server answers",
        ),
    ),
    "verify": CommandHelp(
        "check the success criteria of every declared index",
        "verify --manifest indexes.yaml --explain",
        ("0 no criterion failed", "1 a criterion failed", _USAGE, _UNREACHABLE),
    ),
    "rollback": CommandHelp(
        "drop the indexes that init created",
        "rollback --manifest indexes.yaml --dry-run",
        (
            "0 done, or nothing to do",
            "1 refused, or failed and left nothing behind",
            f"{_USAGE}; nothing was changed",
            "3 an INVALID index was left behind",
            "4 a decision is needed, the server still drops, or it cannot be reached",
        ),
    ),
    "serve": CommandHelp(
        "publish metrics for Prometheus",
        "serve --config.file settings.yaml",
        ("0 ended by a signal", "1 failed", _USAGE),
    ),
    "import": CommandHelp(
        "write a manifest from CREATE INDEX statements",
        "import indexes.sql --output indexes.yaml",
        ("0 written", "1 a statement cannot be imported", _USAGE, _UNREACHABLE),
        " FILE",
    ),
    "demo": CommandHelp(
        "run everything on an embedded PostgreSQL",
        "demo --duration 5m",
        ("0 ended", "1 failed", _USAGE),
    ),
    "healthcheck": CommandHelp(
        "ask a running exporter whether it is healthy",
        "healthcheck --web.listen-address 127.0.0.1:10187",
        ("0 healthy", "1 not healthy, or no answer", _USAGE),
    ),
}


class HelpFormatter(argparse.HelpFormatter):
    """Keeps the lines of a text that has several, and wraps one that has none."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" not in text:
            return super()._fill_text(text, width, indent)
        return "\n".join(indent + line for line in text.splitlines())


def description_of_program() -> str:
    """What the program is for, and its commands."""
    room = max(map(len, COMMANDS)) + 2
    commands = (f"  {name.ljust(room)}{command.purpose}" for name, command in COMMANDS.items())
    return "\n".join(
        (
            "Declare PostgreSQL indexes, build them without downtime, and watch that they",
            "are used.",
            "",
            "commands, in the order of use:",
            *commands,
        )
    )


def command_usage(name: str) -> str:
    """The usage line: short, and the same whatever the version of Python."""
    return f"pg-index-exporter {name}{COMMANDS[name].operands} [flags]"


def description_of(name: str) -> str:
    """Purpose and example."""
    command = COMMANDS[name]
    purpose = command.purpose[0].upper() + command.purpose[1:]
    return f"{purpose}.\n\nexample:\n  pg-index-exporter {command.example}"


def exit_codes_of(name: str) -> str:
    """The exit codes, a line each."""
    return "\n".join(("exit codes:", *(f"  {line}" for line in COMMANDS[name].exit_codes)))
