"""What a command prints and the files it writes: results to standard output, messages to standard error."""

from __future__ import annotations

import argparse
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from exporter.cli.failure import Failure
from exporter.errors import ExporterError, SettingsError
from exporter.text.characters import wrap
from exporter.text.plain import WIDTH, width_for

FORMATS = ("text", "markdown", "json")
_SUFFIXES = {".md": "markdown", ".json": "json"}
_HINT_COLUMNS = 3
_NARROWEST = 20
# Nothing else is done with such a path before the report is there: it could block.
_SPECIAL = (stat.S_ISFIFO, stat.S_ISCHR, stat.S_ISSOCK)


@dataclass(frozen=True, slots=True)
class Document:
    """One result in its three forms; text is written for a number of columns."""

    text: Callable[[int], str]
    markdown: Callable[[], str]
    json: Callable[[], str]

    def write(self, form: str, width: int = WIDTH) -> str:
        """The document in one of FORMATS, ending in a newline."""
        forms = {"markdown": self.markdown, "json": self.json}
        text = forms[form]() if form in forms else self.text(width)
        return text if text.endswith("\n") else text + "\n"


@dataclass(slots=True)
class Output:
    """Where the results of one command go: standard output in one format, and report files.

    Of several databases each has its own document: one after the other on standard output and in each file.
    """

    command: str
    format: str = "text"
    paths: tuple[Path, ...] = ()
    _has_printed: bool = field(default=False, init=False)
    _begun: set[Path] = field(default_factory=set, init=False)

    def check_paths(self) -> None:
        """Raises: SettingsError for the first report file that cannot be written."""
        for path in self.paths:
            try:
                _try_to_write(path)
            except OSError as error:
                raise SettingsError(
                    f"the report cannot be written to {path}: {error.strerror}", hint="choose another path"
                ) from error

    def write(self, document: Document, *, is_printed: bool = True) -> None:
        """Write the report files, then standard output.

        Raises: ExporterError when one of them cannot be written, after all others were.
        """
        faults = [fault for path in self.paths if (fault := self._write_file(path, document)) is not None]
        if is_printed:
            self._print(document)
        if faults:
            raise ExporterError("; ".join(faults), hint="the work itself was done; see above")

    def fail(self, error: ExporterError) -> int:
        """Report an error on standard error and, in the chosen format, in all other places; its exit code."""
        print_message(f"pg-index-exporter: {error}")
        failure = Failure(self.command, error)
        document = Document(lambda width: "", failure.as_markdown, failure.as_json)
        for path in self.paths:
            # What cannot be written is the error, or not worth another one.
            self._write_file(path, Document(failure.as_text, failure.as_markdown, failure.as_json))
        if self.format != "text":
            self._print(document)
        return error.exit_code

    def _print(self, document: Document) -> None:
        # JSON documents need nothing between them.
        gap = "\n" if self._has_printed and self.format != "json" else ""
        self._has_printed = True
        print_text(gap + document.write(self.format, text_width()))

    def _write_file(self, path: Path, document: Document) -> str | None:
        """Why the file could not be written, None when it was."""
        form = _SUFFIXES.get(path.suffix.lower(), "text")
        is_begun = path in self._begun
        gap = "\n" if is_begun and form != "json" else ""
        self._begun.add(path)
        try:
            with path.open("a" if is_begun else "w", encoding="utf-8") as file:
                file.write(gap + document.write(form))
        except OSError as error:
            return f"the report cannot be written to {path}: {error.strerror}"
        return None


def add_output(group: argparse._ActionsContainer) -> None:
    """Add the flags of every command that prints a result."""
    group.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="format on standard output, of an error too (default: text)",
    )
    group.add_argument(
        "--report",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="write the result to this file too, as JSON (.json), Markdown (.md) or text; may be repeated",
    )


def output_of(arguments: argparse.Namespace) -> Output:
    """The output that the flags of a command ask for; of a command without them, text.

    Raises: SettingsError for a report file that cannot be written.
    """
    output = Output(
        arguments.command, vars(arguments).get("format", "text"), tuple(vars(arguments).get("report", ()))
    )
    output.check_paths()
    return output


def _try_to_write(path: Path) -> None:
    """Raises: OSError when the file could not be written. Leaves no trace."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        # Where a file can be made, this one can: its name was just looked up.
        with tempfile.TemporaryFile(dir=path.parent):
            return
    if any(is_kind(mode) for is_kind in _SPECIAL):
        return
    with path.open("a", encoding="utf-8"):
        return


def text_width() -> int:
    """How wide a text on standard output may be: 80 columns, or what a narrower terminal has."""
    if not sys.stdout.isatty():
        return WIDTH
    return width_for(os.get_terminal_size(sys.stdout.fileno()).columns)


def print_text(text: str) -> None:
    """Write a result to standard output, ending in a newline.

    Raises: BrokenPipeError when its reader left; ExporterError when it cannot be written.
    """
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        give_up_stream(sys.stdout)
        raise ExporterError(f"standard output cannot be written: {error.strerror}") from error


def print_message(text: str) -> None:
    """Write a message to standard error; one that cannot be written is dropped."""
    try:
        print(_fitted(text), file=sys.stderr, flush=True)  # noqa: T201 - this room prints
    except OSError:
        give_up_stream(sys.stderr)


def give_up_stream(stream: object) -> None:
    """Lead a broken standard stream to nowhere: the interpreter flushes it once more at its end."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2 if stream is sys.stderr else 1)


def _fitted(text: str) -> str:
    """The text broken between words where standard error is a terminal; a file has it as it is."""
    if not sys.stderr.isatty():
        return text
    width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
    lines: list[str] = []
    for line in text.splitlines():
        words = line.lstrip(" ")
        margin = len(line) - len(words)
        hanging = margin + (_HINT_COLUMNS if words.startswith("-> ") else 2)
        first, *rest = wrap(words, width - margin, max(_NARROWEST, width - hanging))
        lines += [" " * margin + first, *(" " * hanging + one for one in rest)]
    return "\n".join(lines)
