"""`check`: whether serve will work with its settings."""

from __future__ import annotations

import argparse

from exporter.cli.options import read_settings
from exporter.cli.output import Document, Output
from exporter.metrics.check import report
from exporter.metrics.check.run import check as check_settings


def check(arguments: argparse.Namespace, output: Output) -> int:
    """The exit code of trying everything that serve needs."""
    result = check_settings(read_settings(arguments))
    output.write(
        Document(
            lambda width: report.as_text(result, width),
            lambda: report.as_markdown(result),
            lambda: report.as_json(result),
        )
    )
    return result.exit_code
