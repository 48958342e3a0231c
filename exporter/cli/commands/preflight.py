"""`preflight`: what must hold before init builds."""

from __future__ import annotations

import argparse

from exporter.cli.choice import Chosen
from exporter.cli.commands.reading import read_each
from exporter.cli.commands.run_options import build_options
from exporter.cli.documents import readiness_document
from exporter.cli.options import read_settings
from exporter.cli.output import Output
from exporter.migrate import report
from exporter.migrate.readiness import check_readiness


def preflight(arguments: argparse.Namespace, output: Output) -> int:
    """The exit code of the preflight checks in every chosen database."""
    settings = read_settings(arguments)
    strict: bool = arguments.strict

    def read(one: Chosen) -> int:
        readiness = check_readiness(one.database, one.manifest, build_options(settings, one))
        output.write(readiness_document(readiness))
        return report.preflight_exit_code(readiness.findings, strict=strict)

    return read_each(arguments, settings, output, read)
