"""The parser of every command: its flags and what runs it.

Each runner loads its own room: `serve` stays small without the change line, the others start faster
without the web stack.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from exporter import __version__
from exporter.cli.options import (
    add_choice,
    add_preflight,
    add_settings,
    add_web,
    read_settings,
    setting,
    settings_source,
)
from exporter.cli.watching import add_watching
from exporter.settings.conninfo import looks_like_dsn


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
    _configure_serve(commands.add_parser("serve", help="publish the metrics for Prometheus"))
    _configure_check(commands.add_parser("check", help="try whether serve will work as it is set"))
    _configure_init(commands.add_parser("init", help="create the declared indexes, without downtime"))
    _configure_plan(commands.add_parser("plan", help="show what init would do"))
    _configure_preflight(commands.add_parser("preflight", help="check what must hold before init builds"))
    _configure_verify(commands.add_parser("verify", help="check the success criteria one by one"))
    _configure_status(commands.add_parser("status", help="show where every declared index stands"))
    _configure_rollback(commands.add_parser("rollback", help="drop what the migration created"))
    _configure_import(commands.add_parser("import", help="write a manifest from CREATE INDEX statements"))
    _configure_healthcheck(commands.add_parser("healthcheck", help="0 when the running exporter answers"))
    _configure_demo(commands.add_parser("demo", help="see everything at once on an embedded PostgreSQL"))
    return parser


def _configure_serve(parser: argparse.ArgumentParser) -> None:
    _add_serve(parser)
    parser.set_defaults(run=_serve)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    add_web(parser)
    group = parser.add_argument_group("what is published")
    setting(
        group,
        "--watch",
        "watch",
        metavar="PATTERN",
        action="append",
        help="declared, all, or a pattern over schema.index; may be repeated",
    )
    setting(
        group,
        "--scrape-timeout-seconds",
        "scrape_timeout_seconds",
        metavar="SECONDS",
        help="own limit of one scrape; Prometheus' own timeout counts too",
    )
    setting(
        group, "--max-databases", "max_databases", metavar="N", help="databases found by patterns, at most"
    )
    setting(group, "--max-indexes", "max_indexes", metavar="N", help="watched indexes beyond the declared")
    setting(group, "--max-statements", "max_statements", metavar="N", help="statements per database")
    setting(
        group,
        "--no-query-text",
        "query_text",
        action="store_false",
        help="publish statements by number only",
    )
    setting(
        group, "--query-text-length", "query_text_length", metavar="N", help="characters of a text, at most"
    )
    setting(
        group,
        "--web.external-url",
        "web_external_url",
        metavar="URL",
        help="what /sd gives Prometheus as our address, default the Host header of its request",
    )
    setting(
        group, "--web.enable-lifecycle", "web_enable_lifecycle", action="store_true", help="allow /-/reload"
    )
    setting(group, "--log.level", "log_level", metavar="LEVEL", help="debug, info, warning or error")
    setting(group, "--log.format", "log_format", metavar="FORMAT", help="logfmt or json")


def _serve(arguments: argparse.Namespace) -> int:
    from exporter.settings.apart import begin_reading, read_apart

    source = settings_source(arguments)
    begun = begin_reading(source)
    # Meanwhile.
    from exporter.metrics.service import run

    return run(begun, lambda: read_apart(source))


def _configure_check(parser: argparse.ArgumentParser) -> None:
    # Those of serve, so that one word changes in a command line.
    _add_serve(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="form of the result")
    parser.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from exporter.cli.check import check

    return check(arguments)


def _configure_healthcheck(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    add_web(parser)
    parser.set_defaults(run=_healthcheck)


def _healthcheck(arguments: argparse.Namespace) -> int:
    from exporter.metrics.health import check_health

    settings = read_settings(arguments)
    file = settings.web_config_file
    is_healthy = check_health(settings.web_listen_address, web_config_file=Path(file) if file else None)
    return 0 if is_healthy else 1


def _configure_init(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    add_choice(parser)
    add_preflight(parser)
    _add_run(parser)
    parser.add_argument(
        "--adopt-invalid",
        action="store_true",
        help="replace INVALID indexes of the declared names that the journal does not know",
    )
    parser.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> int:
    from exporter.cli.change import init

    return init(arguments)


def _configure_rollback(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    add_choice(parser)
    _add_run(parser)
    parser.set_defaults(run=_rollback)


def _rollback(arguments: argparse.Namespace) -> int:
    from exporter.cli.change import rollback

    return rollback(arguments)


def _configure_verify(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    add_choice(parser)
    _add_report(parser)
    parser.add_argument("--strict", action="store_true", help="count unknown as failed")
    parser.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    from exporter.cli.change import verify

    return verify(arguments)


def _configure_status(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    add_choice(parser)
    parser.add_argument(
        "--format", choices=("text", "markdown", "json"), default="text", help="form of the result"
    )
    parser.set_defaults(run=_status)


def _status(arguments: argparse.Namespace) -> int:
    from exporter.cli.change import status

    return status(arguments)


def _configure_plan(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    add_choice(parser)
    add_preflight(parser)
    parser.add_argument(
        "--sql", action="store_true", help="write a psql script instead, which keeps the same journal"
    )
    parser.set_defaults(run=_plan, dry_run=True)


def _plan(arguments: argparse.Namespace) -> int:
    from exporter.cli.change import plan

    return plan(arguments)


def _configure_preflight(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    add_choice(parser)
    add_preflight(parser)
    _add_way(parser.add_argument_group("how init would run"))
    _add_report(parser)
    parser.add_argument("--strict", action="store_true", help="count unknown as failed")
    parser.set_defaults(run=_preflight)


def _preflight(arguments: argparse.Namespace) -> int:
    from exporter.cli.change import preflight

    return preflight(arguments)


def _configure_import(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    add_choice(parser)
    parser.add_argument("file", metavar="FILE", help="SQL with CREATE INDEX statements and nothing else")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write it here, where nothing is yet; default: print it"
    )
    parser.add_argument(
        "--search-path",
        default="public",
        metavar="SCHEMA,…",
        help="schemas of names without one in the statements, default public",
    )
    parser.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> int:
    from exporter.cli.importing import import_file

    return import_file(arguments)


def _add_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it runs")
    group.add_argument("--dry-run", action="store_true", help="show the plan and touch nothing")
    group.add_argument("--yes", action="store_true", help="do not ask before the first step")
    _add_way(group)
    setting(
        group,
        "--on-failure",
        "on_failure",
        metavar="POLICY",
        help="when a step fails: stop-launching (start no other, default), continue (go on with the others), "
        "or cancel-all (cancel them too)",
    )
    setting(
        group,
        "--cancel-on-term",
        "cancel_on_term",
        action="store_true",
        help="SIGTERM cancels and cleans up; without this the server goes on, for the next run to follow",
    )
    add_watching(parser)
    _add_report(parser)


def _add_way(group: argparse._ArgumentGroup) -> None:
    """Adds what a run and the check before it have to agree on."""
    setting(group, "--sequential", "sequential", action="store_true", help="one table at a time")
    setting(group, "--max-parallel", "max_parallel", metavar="N", help="tables at a time, at most")
    setting(
        group,
        "--disk-budget-bytes",
        "disk_budget_bytes",
        metavar="SIZE",
        help="tables at a time whose indexes, sorts and WAL come to this at most, by the estimates; "
        "default what is free on their volumes, but for a tenth of each",
    )
    setting(
        group,
        "--deadline-seconds",
        "deadline_seconds",
        metavar="SECONDS",
        help="limit of one statement on the server, default 24 hours",
    )


def _add_report(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("report")
    group.add_argument(
        "--format",
        choices=("text", "markdown", "json"),
        default="text",
        help="form of the report on standard output",
    )
    group.add_argument(
        "--report",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="write the report here too; .json and .md choose the form, else text; may be repeated",
    )


def _configure_demo(parser: argparse.ArgumentParser) -> None:
    from exporter.demo.options import configure_parser

    configure_parser(parser)
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from exporter.demo.run import run

    return run(arguments)
