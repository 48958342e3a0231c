"""The parser of all commands, in the order in which they are used.

Each runner loads its own room: `serve` stays small without the change line, the others start faster
without the web stack.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from exporter import __version__
from exporter.cli import flags, runners, serve_flags
from exporter.cli.help import (
    COMMANDS,
    HelpFormatter,
    command_usage,
    description_of,
    description_of_program,
    exit_codes_of,
)
from exporter.cli.output import Output
from exporter.errors import SettingsError
from exporter.settings.connection.dsn_text import looks_like_dsn

PROGRAM = "pg-index-exporter"
Command = Callable[[argparse.Namespace, Output], int]


class UsageError(SettingsError):
    """A command line that cannot be understood; `command` is the one that it is about."""

    def __init__(self, what: str, program: str) -> None:
        if looks_like_dsn(what):
            what = (
                "an argument that looks like a connection string, or a part of one, is not understood; "
                "put it in PG_INDEX_EXPORTER_DSN, or in a file: --dsn-file"
            )
        super().__init__(what, hint=f"see {program} --help")
        self.command = program.removeprefix(f"{PROGRAM} ")


class Parser(argparse.ArgumentParser):
    """A parser that raises, and repeats no connection string that is in the wrong place."""

    def error(self, message: str) -> NoReturn:
        """Raises: UsageError."""
        raise UsageError(message, self.prog)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The flags of a command line, its command in `command` and its runner in `run`.

    Raises: UsageError.
    """
    # The flags of the other commands would only cost time at the start.
    named = words[0] if words and words[0] in COMMANDS else None
    parsed, rest = build_parser(named).parse_known_args(words)
    if rest:
        raise UsageError(f"unrecognized arguments: {' '.join(rest)}", f"{PROGRAM} {parsed.command}")
    return parsed


@dataclass(frozen=True, slots=True)
class _Runner:
    """What adds the flags of a command, and what runs it."""

    configure: Callable[[argparse.ArgumentParser], None]
    run: Command


_RUNNERS = {
    "check": _Runner(serve_flags.configure_check, runners.check),
    "plan": _Runner(flags.configure_plan, runners.plan),
    "preflight": _Runner(flags.configure_preflight, runners.preflight),
    "init": _Runner(flags.configure_init, runners.init),
    "status": _Runner(flags.configure_status, runners.status),
    "verify": _Runner(flags.configure_verify, runners.verify),
    "rollback": _Runner(flags.configure_rollback, runners.rollback),
    "serve": _Runner(serve_flags.configure_serve, runners.serve),
    "import": _Runner(flags.configure_import, runners.import_sql),
    "demo": _Runner(flags.configure_demo, runners.demo),
    "healthcheck": _Runner(serve_flags.configure_healthcheck, runners.healthcheck),
}


def build_parser(named: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; with `named`, only that command has its flags."""
    parser = Parser(
        prog=PROGRAM,
        usage="pg-index-exporter COMMAND [flags]",
        description=description_of_program(),
        epilog="Flags of a command: pg-index-exporter COMMAND --help",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pg-index-exporter {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True, help=argparse.SUPPRESS)
    for name in COMMANDS:
        command = commands.add_parser(
            name,
            usage=command_usage(name),
            description=description_of(name),
            epilog=exit_codes_of(name),
            formatter_class=HelpFormatter,
            allow_abbrev=False,
        )
        runner = _RUNNERS[name]
        if named in (None, name):
            runner.configure(command)
        command.set_defaults(run=runner.run)
    return parser
