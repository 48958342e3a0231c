"""`init`: create the declared indexes."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from exporter.cli.choice import Chosen
from exporter.cli.commands.changing import change_each
from exporter.cli.commands.run_options import build_options
from exporter.cli.options import read_settings
from exporter.cli.output import Output
from exporter.cli.screen import RunOnScreen
from exporter.migrate.events import Event
from exporter.migrate.init import initialise
from exporter.model import Outcome


def init(arguments: argparse.Namespace, output: Output) -> int:
    """The exit code of creating the declared indexes in every chosen database."""
    settings = read_settings(arguments)

    def change(one: Chosen, run: RunOnScreen, on_event: Callable[[Event], None]) -> Outcome:
        options = build_options(
            settings, one, adopt_invalid=arguments.adopt_invalid, dry_run=arguments.dry_run
        )
        return initialise(
            one.database,
            one.manifest,
            options,
            confirm=run.confirm,
            on_event=on_event,
            on_stage=run.display.stage,
        )

    return change_each(arguments, settings, output, change)
