"""The flags of the commands of the change line: the common ones first, then short groups."""

from __future__ import annotations

import argparse
from pathlib import Path

from exporter.cli.choice import add_choice, add_database_choice
from exporter.cli.options import add_preflight, add_server, add_setting_flags
from exporter.cli.output import add_output
from exporter.cli.watching import add_watching


def configure_plan(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `plan`."""
    common = _add_common(parser)
    common.add_argument(
        "--sql", action="store_true", help="write a psql script instead, which keeps the same journal"
    )
    add_choice(parser)
    add_preflight(parser)
    _add_connection(parser)


def configure_preflight(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `preflight`."""
    common = _add_common(parser)
    _add_strict(common)
    add_choice(parser)
    _add_pace(parser.add_argument_group("how init would run"))
    add_preflight(parser)
    _add_connection(parser)


def configure_init(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `init`."""
    common = _add_common(parser)
    _add_questions(common)
    common.add_argument(
        "--step", action="store_true", help="one step at a time; on a terminal, ask before each step"
    )
    add_choice(parser)
    group = parser.add_argument_group("how it runs")
    group.add_argument(
        "--adopt-invalid",
        action="store_true",
        help="replace INVALID indexes of the declared names that the journal does not know",
    )
    _add_pace(group)
    add_setting_flags(group, "on_failure", "cancel_on_term")
    add_watching(parser)
    add_preflight(parser)
    _add_connection(parser)


def configure_status(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `status`."""
    _add_common(parser)
    add_choice(parser)
    _add_connection(parser)


def configure_verify(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `verify`."""
    common = _add_common(parser)
    common.add_argument(
        "--explain", action="store_true", help="show the plan of each probe in text too, without constants"
    )
    _add_strict(common)
    add_choice(parser)
    _add_connection(parser)


def configure_rollback(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `rollback`."""
    common = _add_common(parser)
    _add_questions(common)
    add_choice(parser)
    group = parser.add_argument_group("how it runs")
    _add_pace(group)
    add_setting_flags(group, "on_failure", "cancel_on_term")
    add_watching(parser)
    _add_connection(parser)


def configure_import(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `import`."""
    parser.add_argument("file", metavar="FILE", help="SQL with CREATE INDEX statements and nothing else")
    common = parser.add_argument_group("common flags")
    common.add_argument(
        "--output", type=Path, metavar="FILE", help="write to this new file (default: standard output)"
    )
    common.add_argument(
        "--migration", metavar="NAME", help="name of the migration (default: that of the file)"
    )
    common.add_argument(
        "--search-path",
        default="public",
        metavar="SCHEMA,…",
        help="schemas of names without one in the statements (default: public)",
    )
    add_server(common)
    add_database_choice(parser)
    add_setting_flags(parser.add_argument_group("connection"), "connect_timeout_seconds")


def configure_demo(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `demo`."""
    from exporter.demo.options import configure_parser

    configure_parser(parser)


def _add_common(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("common flags")
    add_setting_flags(group, "manifests")
    add_server(group)
    add_output(group)
    return group


def _add_strict(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--strict", action="store_true", help="count unknown as failed")


def _add_questions(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    group.add_argument("--yes", action="store_true", help="do not ask before the first step")


def _add_pace(group: argparse._ArgumentGroup) -> None:
    """Add what a run and the check before it must agree on."""
    add_setting_flags(group, "sequential", "max_parallel", "disk_budget_bytes", "deadline_seconds")


def _add_connection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("connection and journal")
    add_setting_flags(group, "connect_timeout_seconds", "journal_schema")
