"""`status`: the state of every declared index."""

from __future__ import annotations

import argparse

from exporter.cli.choice import Chosen
from exporter.cli.commands.reading import read_each
from exporter.cli.commands.run_options import run_options
from exporter.cli.documents import status_document
from exporter.cli.options import read_settings
from exporter.cli.output import Output
from exporter.migrate import report
from exporter.migrate.status import read_status


def status(arguments: argparse.Namespace, output: Output) -> int:
    """The exit code of the declared indexes' states in every chosen database: 0 when all are as declared."""
    settings = read_settings(arguments)

    def read(one: Chosen) -> int:
        found = read_status(one.database, one.manifest, run_options(settings))
        output.write(status_document(found))
        return report.status_exit_code(found)

    return read_each(arguments, settings, output, read)
