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
from exporter.text.characters import wrap

Command = Callable[[argparse.Namespace], int]

INTERRUPTED = 130
ARROW_COLUMNS = 3
MINIMUM_COLUMNS = 20


def fitted(text: str) -> str:
    """The text broken between words where standard error is a terminal; a file has it as it is."""
    if not sys.stderr.isatty():
        return text
    width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
    lines: list[str] = []
    for line in text.splitlines():
        words = line.lstrip(" ")
        margin = len(line) - len(words)
        hanging = margin + (ARROW_COLUMNS if words.startswith("-> ") else 2)
        first, *rest = wrap(words, width - margin, max(MINIMUM_COLUMNS, width - hanging))
        lines += [" " * margin + first, *(" " * hanging + one for one in rest)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command on the command line."""
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    run: Command = parsed.run
    try:
        return run(parsed)
    except ExporterError as error:
        print(fitted(f"pg-index-exporter: {error}"), file=sys.stderr)  # noqa: T201 - this room prints
        return error.exit_code
    except KeyboardInterrupt:
        print("pg-index-exporter: interrupted", file=sys.stderr)  # noqa: T201 - this room prints
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left; the interpreter's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
