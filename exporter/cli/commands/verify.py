"""`verify`: the success criteria one by one."""

from __future__ import annotations

import argparse

from exporter.cli.choice import Chosen
from exporter.cli.commands.reading import read_each
from exporter.cli.commands.run_options import run_options
from exporter.cli.documents import outcome_document
from exporter.cli.options import read_settings
from exporter.cli.output import Output
from exporter.migrate import report
from exporter.migrate.verification import check_result


def verify(arguments: argparse.Namespace, output: Output) -> int:
    """The exit code of checking the success criteria in every chosen database."""
    settings = read_settings(arguments)
    strict: bool = arguments.strict

    def read(one: Chosen) -> int:
        outcome = check_result(one.database, one.manifest, run_options(settings))
        output.write(outcome_document(outcome, with_plans=arguments.explain))
        return report.exit_code(outcome, strict=strict)

    return read_each(arguments, settings, output, read)
