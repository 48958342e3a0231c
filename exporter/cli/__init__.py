"""The commands. The only room that prints and exits; every command is a parser and one plain function.

Results go to standard output, talk to standard error; the exit code tells the rest (see `errors`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from exporter.cli.parser import build_parser
from exporter.errors import ExporterError

Command = Callable[[argparse.Namespace], int]

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command on the command line."""
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    run: Command = parsed.run
    try:
        return run(parsed)
    except ExporterError as error:
        print(f"pg-index-exporter: {error}", file=sys.stderr)  # noqa: T201 - this room prints
        return error.exit_code
    except KeyboardInterrupt:
        print("pg-index-exporter: interrupted", file=sys.stderr)  # noqa: T201 - this room prints
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left; the interpreter's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
