"""What verify, preflight, status and plan share: each chosen database is read, whatever the others answer."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from exporter.cli.choice import Chosen, chosen
from exporter.cli.output import Output
from exporter.errors import TargetError
from exporter.settings.model import Settings


def read_each(
    arguments: argparse.Namespace, settings: Settings, output: Output, read: Callable[[Chosen], int]
) -> int:
    """The highest exit code of all chosen databases. One that does not answer hides no other."""
    exit_code = 0
    for one in chosen(arguments, settings):
        try:
            exit_code = max(exit_code, read(one))
        except TargetError as error:
            exit_code = max(exit_code, output.fail(error))
    return exit_code
