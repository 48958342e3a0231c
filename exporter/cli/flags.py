"""The flags of the commands of the change line, the common ones first."""

from __future__ import annotations

import argparse
from pathlib import Path

from exporter.cli.choice import add_choice, add_database_choice
from exporter.cli.options import add_preflight, add_settings, setting
from exporter.cli.output import add_output
from exporter.cli.watching import add_watching


def configure_init(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `init`."""
    add_settings(parser)
    add_choice(parser)
    _add_run(parser)
    add_output(parser)
    add_preflight(parser)
    parser.add_argument(
        "--adopt-invalid",
        action="store_true",
        help="replace INVALID indexes of the declared names that the journal does not know",
    )
    add_watching(parser)


def configure_rollback(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `rollback`."""
    add_settings(parser)
    add_choice(parser)
    _add_run(parser)
    add_output(parser)
    add_watching(parser)


def configure_verify(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `verify`."""
    add_settings(parser)
    add_choice(parser)
    add_output(parser)
    parser.add_argument("--strict", action="store_true", help="count unknown as failed")


def configure_status(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `status`."""
    add_settings(parser)
    add_choice(parser)
    add_output(parser)


def configure_plan(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `plan`."""
    add_settings(parser)
    add_choice(parser)
    add_output(parser)
    add_preflight(parser)
    parser.add_argument(
        "--sql", action="store_true", help="write a psql script instead, which keeps the same journal"
    )


def configure_preflight(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `preflight`."""
    add_settings(parser)
    add_choice(parser)
    add_output(parser)
    add_preflight(parser)
    _add_pace(parser.add_argument_group("how init would run"))
    parser.add_argument("--strict", action="store_true", help="count unknown as failed")


def configure_import(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `import`."""
    parser.add_argument("file", metavar="FILE", help="SQL with CREATE INDEX statements and nothing else")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write to this new file (default: standard output)"
    )
    parser.add_argument(
        "--migration", metavar="NAME", help="name of the migration (default: that of the file)"
    )
    parser.add_argument(
        "--search-path",
        default="public",
        metavar="SCHEMA,…",
        help="schemas of names without one in the statements (default: public)",
    )
    add_settings(parser)
    add_database_choice(parser)


def configure_demo(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `demo`."""
    from exporter.demo.options import configure_parser

    configure_parser(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it runs")
    group.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    group.add_argument("--yes", action="store_true", help="do not ask before the first step")
    _add_pace(group)
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


def _add_pace(group: argparse._ArgumentGroup) -> None:
    """Add what a run and the check before it must agree on."""
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
