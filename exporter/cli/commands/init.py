"""`init`: create the declared indexes."""

from __future__ import annotations

import argparse
import sys

from exporter.cli.choice import Chosen
from exporter.cli.commands.changing import change_each
from exporter.cli.commands.run_options import build_options
from exporter.cli.options import read_settings
from exporter.cli.output import Output, print_message
from exporter.cli.screen import RunOnScreen
from exporter.migrate.events import StepAnswer
from exporter.migrate.init import initialise
from exporter.model import Outcome, Step


def init(arguments: argparse.Namespace, output: Output) -> int:
    """The exit code of creating the declared indexes in every chosen database."""
    settings = read_settings(arguments)

    def change(one: Chosen, run: RunOnScreen) -> Outcome:
        options = build_options(
            settings, one, adopt_invalid=arguments.adopt_invalid, dry_run=arguments.dry_run
        )
        return initialise(
            one.database,
            one.manifest,
            options,
            confirm=run.confirm,
            on_event=run.on_event,
            on_stage=run.display.stage,
            ask_step=(run.ask_step if run.can_ask else _continue) if arguments.step else None,
        )

    if arguments.step and arguments.yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        print_message("pg-index-exporter: there is no terminal to ask on: --step does not pause")
    return change_each(arguments, settings, output, change)


def _continue(_step: Step, _number: int, _count: int) -> StepAnswer:
    return StepAnswer.CONTINUE
