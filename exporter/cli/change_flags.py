"""The flags of the commands of the change line, and what runs them."""

from __future__ import annotations

import argparse
from pathlib import Path

from exporter.cli.options import add_choice, add_preflight, add_settings, setting
from exporter.cli.watching import add_watching


def configure_init(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `init` its flags."""
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


def configure_rollback(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `rollback` its flags."""
    add_settings(parser)
    add_choice(parser)
    _add_run(parser)
    parser.set_defaults(run=_rollback)


def _rollback(arguments: argparse.Namespace) -> int:
    from exporter.cli.change import rollback

    return rollback(arguments)


def configure_verify(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `verify` its flags."""
    add_settings(parser)
    add_choice(parser)
    _add_report(parser)
    parser.add_argument("--strict", action="store_true", help="count unknown as failed")
    parser.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    from exporter.cli.change import verify

    return verify(arguments)


def configure_status(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `status` its flags."""
    add_settings(parser)
    add_choice(parser)
    parser.add_argument(
        "--format", choices=("text", "markdown", "json"), default="text", help="form of the result"
    )
    parser.set_defaults(run=_status)


def _status(arguments: argparse.Namespace) -> int:
    from exporter.cli.change import status

    return status(arguments)


def configure_plan(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `plan` its flags."""
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


def configure_preflight(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `preflight` its flags."""
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


def configure_import(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `import` its flags."""
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
