"""The commands. The only room that prints and exits; every command is a parser and one plain function.

Results go to standard output, messages to standard error; exit codes are those of `errors`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from itertools import pairwise

from exporter.cli.output import Output, give_up_stream, output_of, print_message
from exporter.cli.parser import PROGRAM, Command, UsageError, parse
from exporter.errors import ExporterError

INTERRUPTED = 130
BROKEN_PIPE = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command on the command line."""
    _prepare_streams()
    words = sys.argv[1:] if arguments is None else list(arguments)
    output = Output(PROGRAM)
    try:
        try:
            parsed = parse(words)
            run: Command = parsed.run
            # Errors are reported in the chosen format also where a report file is the error.
            output = Output(parsed.command, vars(parsed).get("format", "text"))
            output = output_of(parsed)
            return run(parsed, output)
        except UsageError as error:
            return Output(error.command, "json" if _wants_json(words) else "text").fail(error)
        except ExporterError as error:
            return output.fail(error)
    except KeyboardInterrupt:
        print_message("pg-index-exporter: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left; the interpreter's last flush must not complain.
        give_up_stream(sys.stdout)
        return BROKEN_PIPE


def _wants_json(words: Sequence[str]) -> bool:
    """Whether a command line that cannot be parsed asks for JSON."""
    return "--format=json" in words or ("--format", "json") in pairwise(words)


def _prepare_streams() -> None:
    """Open closed standard streams on nowhere, and let no character be an error.

    A database session would otherwise take the number of a closed one, and messages would go to it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - lasts as long as we do
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - lasts as long as we do
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
