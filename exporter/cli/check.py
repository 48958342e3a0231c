"""Running `check`."""

from __future__ import annotations

import argparse

from exporter.cli.options import print_text, read_settings
from exporter.errors import SettingsError
from exporter.metrics.check.report import as_json, as_text, faults_as_json
from exporter.metrics.check.run import check as check_settings


def check(arguments: argparse.Namespace) -> int:
    """The exit code of trying everything that `serve` will need."""
    is_json = arguments.format == "json"
    try:
        result = check_settings(read_settings(arguments))
    except SettingsError as error:
        if is_json:
            print_text(faults_as_json(error))
        raise
    print_text(as_json(result) if is_json else as_text(result))
    return result.exit_code
