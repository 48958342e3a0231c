"""The parser of all commands.

Each runner loads its own room: `serve` stays small without the change line, the others start faster
without the web stack.
"""

from __future__ import annotations

import argparse
from typing import NoReturn

from exporter import __version__
from exporter.cli.change_flags import (
    configure_import,
    configure_init,
    configure_plan,
    configure_preflight,
    configure_rollback,
    configure_status,
    configure_verify,
)
from exporter.cli.serve_flags import configure_check, configure_healthcheck, configure_serve
from exporter.settings.dsn_text import looks_like_dsn


class Parser(argparse.ArgumentParser):
    """A parser that does not repeat a connection string which stands in the wrong place."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and ends with exit code 2."""
        if looks_like_dsn(message):
            message = (
                "an argument that looks like a connection string, or a part of one, is not understood; "
                "give it whole, as PG_INDEX_EXPORTER_DSN or in a file: --dsn-file"
            )
        super().error(message)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="pg-index-exporter",
        description="Declare PostgreSQL indexes, have them built safely, and watch that they are used.",
    )
    parser.add_argument("--version", action="version", version=f"pg-index-exporter {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    configure_serve(commands.add_parser("serve", help="publish the metrics for Prometheus"))
    configure_check(commands.add_parser("check", help="try whether serve will work as it is set"))
    configure_init(commands.add_parser("init", help="create the declared indexes, without downtime"))
    configure_plan(commands.add_parser("plan", help="show what init would do"))
    configure_preflight(commands.add_parser("preflight", help="check what must hold before init builds"))
    configure_verify(commands.add_parser("verify", help="check the success criteria one by one"))
    configure_status(commands.add_parser("status", help="show where every declared index stands"))
    configure_rollback(commands.add_parser("rollback", help="drop what the migration created"))
    configure_import(commands.add_parser("import", help="write a manifest from CREATE INDEX statements"))
    configure_healthcheck(commands.add_parser("healthcheck", help="0 when the running exporter answers"))
    _configure_demo(commands.add_parser("demo", help="see everything at once on an embedded PostgreSQL"))
    return parser


def _configure_demo(parser: argparse.ArgumentParser) -> None:
    from exporter.demo.options import configure_parser

    configure_parser(parser)
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from exporter.demo.run import run

    return run(arguments)
