"""`rollback`: drop what the migration created."""

from __future__ import annotations

import argparse

from exporter.cli.choice import Chosen
from exporter.cli.commands.changing import change_each
from exporter.cli.commands.run_options import run_options
from exporter.cli.options import read_settings
from exporter.cli.output import Output
from exporter.cli.screen import RunOnScreen
from exporter.migrate.rollback.run import roll_back
from exporter.model import Outcome
from exporter.settings.binding import resolve_targets


def rollback(arguments: argparse.Namespace, output: Output) -> int:
    """The exit code of dropping what the migration created in every chosen database."""
    settings = read_settings(arguments)
    named = [database for target in resolve_targets(settings) for database in target.databases]

    def change(one: Chosen, run: RunOnScreen) -> Outcome:
        # The same database of the other targets is asked too: a standby may use what is dropped here.
        siblings = [
            other for other in named if other.datname == one.database.datname and other is not one.database
        ]
        return roll_back(
            one.database,
            one.manifest,
            run_options(settings, dry_run=arguments.dry_run),
            siblings=siblings,
            confirm=run.confirm,
            on_event=run.on_event,
        )

    return change_each(arguments, settings, output, change)
