"""Read YAML into plain values with their lines, strictly and within limits.

Strict: one document, no duplicate keys, no tags; only true, false, null and decimal numbers are not text
(`no` and `on` are text, as in YAML 1.2). Limited in bytes, depth and values, where an alias counts as what
it repeats. No message repeats a value of the file: it could be a password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml

from exporter.errors import Fault

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_VALUES = 400_000
MAX_DEPTH = 20

Scalar: TypeAlias = str | int | float | bool | None

_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_BRACKETS = {
    "while parsing a flow sequence": ("list", "[", "]"),
    "while parsing a flow mapping": ("mapping", "{", "}"),
}
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


@dataclass(frozen=True, slots=True)
class Located:
    """A value and its line: that of its key inside a mapping, else its own."""

    line: int
    value: Scalar | tuple[Located, ...] | Mapping[str, Located]

    @property
    def kind(self) -> str:
        """The kind of the value in words."""
        match self.value:
            case None:
                return "nothing"
            case bool():
                return "true or false"
            case int() | float():
                return "a number"
            case str():
                return "a text"
            case tuple():
                return "a list"
            case _:
                return "a mapping"


@dataclass(slots=True)
class FaultList:
    """The faults of one file, collected so that all are reported at once."""

    file: str
    found: list[tuple[int, Fault]] = field(default_factory=list)

    def add(self, line: int | None, what: str, hint: str) -> None:
        """Adds a fault at `line`, or about the file as a whole."""
        self.found.append((line or 0, Fault(self.place(line), what, hint)))

    def sorted(self) -> tuple[Fault, ...]:
        """The faults from top to bottom."""
        return tuple(fault for _, fault in sorted(self.found, key=lambda found: found[0]))

    def place(self, line: int | None) -> str:
        """`file:line`, or the file alone."""
        return self.file if line is None else f"{self.file}:{line}"


def read_yaml(path: Path, faults: FaultList) -> Located | None:
    """The document in the file, or None when it cannot be read at all; faults are added to `faults`."""
    text = _read_text(path, faults)
    return None if text is None else parse_yaml(text, faults)


def parse_yaml(text: str, faults: FaultList) -> Located | None:
    """The document in `text`, or None when it cannot be read at all; faults are added to `faults`."""
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        faults.add(None if mark is None else mark.line + 1, *_syntax_fault(error))
        return None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        faults.add(
            line, "not YAML: an unprintable character", "remove it, or write it as an escape in quotes"
        )
        return None
    except RecursionError:
        faults.add(None, "not acceptable YAML: nested too deeply", f"nest at most {MAX_DEPTH} levels")
        return None
    if node is None:
        faults.add(None, "the file is empty", "write its settings as `key: value`")
        return None
    try:
        return _Conversion(faults).located(node, node.start_mark.line + 1, 0)
    except _TooLarge as error:
        faults.add(error.line, error.what, error.hint)
        return None


def plain(entry: Located) -> object:
    """The value without its lines."""
    if isinstance(entry.value, tuple):
        return [plain(item) for item in entry.value]
    if isinstance(entry.value, Mapping):
        return {key: plain(item) for key, item in entry.value.items()}
    return entry.value


def unknown_key(key: str, known: Iterable[str]) -> tuple[str, str]:
    """The fault of an unknown key, and the hint: the nearest known key, or all known keys."""
    names = list(known)
    # A key that does not look like one may be a misplaced secret.
    what = f"unknown key {key!r}" if _PLAIN_KEY.fullmatch(key) else "an unknown key"
    nearest = difflib.get_close_matches(key, names, n=1)
    if nearest:
        return what, f"did you mean {nearest[0]!r}?"
    return what, f"remove it; known here: {', '.join(names)}"


def _read_text(path: Path, faults: FaultList) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        faults.add(None, "the file does not exist", "check the path; relative ones start at the naming file")
        return None
    except OSError as error:
        faults.add(None, f"cannot be read: {error.strerror}", "make it a readable file")
        return None
    if len(content) > MAX_FILE_BYTES:
        faults.add(None, f"larger than {MAX_FILE_BYTES // 1024 // 1024} MiB", "split the file")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        faults.add(line, f"byte {error.start} is not UTF-8", "save the file as UTF-8")
        return None


def _compose(text: str) -> yaml.Node | None:
    loader = yaml.SafeLoader(text)
    # Every plain word stays a string here; _Conversion decides what it is.
    loader.yaml_implicit_resolvers = {}
    try:
        node: yaml.Node | None = loader.get_single_node()
    finally:
        loader.dispose()
    return node


def _syntax_fault(error: yaml.MarkedYAMLError) -> tuple[str, str]:
    brackets = _BRACKETS.get(error.context or "")
    if brackets is not None and error.context_mark is not None:
        kind, opening, closing = brackets
        what = (
            f"not YAML: the {kind} opened with {opening} in line {error.context_mark.line + 1} is not closed"
        )
        return what, f"close it with {closing}; put texts that hold , : or brackets in quotes"
    # PyYAML quotes tokens such as '<block end>', single characters, and names: `*x` is an alias in YAML,
    # and may be meant as a password.
    problem = re.sub(r"'(?!<[a-z ]+>'|.')[^']*'", "'…'", error.problem or "syntax error")
    return f"not YAML: {problem}", "check indentation and quoting; put unusual texts in quotes or after `|`"


class _TooLarge(Exception):
    def __init__(self, line: int, what: str, hint: str) -> None:
        super().__init__(what)
        self.line, self.what, self.hint = line, what, hint


class _Conversion:
    """Turn nodes into Located values, and count what aliases repeat."""

    def __init__(self, faults: FaultList) -> None:
        self.faults = faults
        self.values = 0

    def located(self, node: yaml.Node, line: int, depth: int) -> Located:
        self.values += 1
        if self.values > MAX_VALUES:
            raise _TooLarge(line, f"more than {MAX_VALUES} values", "split the file, repeat fewer aliases")
        if depth > MAX_DEPTH:
            raise _TooLarge(line, "nested too deeply", f"nest at most {MAX_DEPTH} levels")
        if node.tag not in _PLAIN_TAGS:
            self.faults.add(
                line,
                "a YAML tag (a word that begins with `!`)",
                "remove it, or put the text in quotes",
            )
        if isinstance(node, yaml.MappingNode):
            return Located(line, self.mapping(node, depth))
        if isinstance(node, yaml.SequenceNode):
            items = (self.located(item, item.start_mark.line + 1, depth + 1) for item in node.value)
            return Located(line, tuple(items))
        return Located(line, self.scalar(node, line))

    def mapping(self, node: yaml.MappingNode, depth: int) -> Mapping[str, Located]:
        entries: dict[str, Located] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.add(line, "a key that is a list or a mapping", "write keys as plain words")
                continue
            key = str(key_node.value)
            located = self.located(value_node, line, depth + 1)
            if key in entries:
                name = repr(key) if _PLAIN_KEY.fullmatch(key) else "a key"
                self.faults.add(
                    line,
                    f"{name} is given twice, first in line {entries[key].line}",
                    "keep one of them",
                )
                continue
            entries[key] = located
        return entries

    def scalar(self, node: yaml.Node, line: int) -> Scalar:
        text = str(node.value)
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            self.faults.add(line, "a text holds NUL or half a surrogate pair", "remove the escape")
            return ""
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _NUMBER.fullmatch(text):
            return float(text)
        return text
