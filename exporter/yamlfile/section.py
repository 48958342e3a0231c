"""Read one mapping of a YAML file key by key and collect all faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from exporter.parsing.text import InvalidText
from exporter.yamlfile.reader import FaultList, Located, unknown_key

T = TypeVar("T")


def open_section(entry: Located, what: str, known: tuple[str, ...], faults: FaultList) -> Section | None:
    """The mapping, with a fault for each unknown key; None with a fault for anything else."""
    if not isinstance(entry.value, Mapping):
        faults.add(entry.line, f"{what} is a mapping, not {entry.kind}", "write `key: value` lines")
        return None
    for key, value in entry.value.items():
        if key not in known:
            faults.add(value.line, *unknown_key(key, known))
    return Section(entry.line, entry.value, what, faults)


class Section:
    """One mapping of the file, read key by key; a wrong value is a fault and reads as absent."""

    def __init__(self, line: int, entries: Mapping[str, Located], what: str, faults: FaultList) -> None:
        self._line = line
        self._entries = entries
        self._what = what
        self._faults = faults

    def has(self, key: str) -> bool:
        """True when the key is there, with or without a value."""
        return key in self._entries

    def fault(self, key: str, what: str, hint: str) -> None:
        """Add a fault at the line of the key, or of the mapping without it."""
        entry = self._entries.get(key)
        self._faults.add(self._line if entry is None else entry.line, what, hint)

    def _entry(self, key: str, *, required: bool = False) -> Located | None:
        entry = self._entries.get(key)
        if entry is None:
            if required:
                self._faults.add(self._line, f"{self._what} lacks {key!r}", f"add `{key}:`")
            return None
        if entry.value is None:
            self._faults.add(entry.line, f"{key!r} is empty", "give it a value or remove the line")
            return None
        return entry

    def text(self, key: str, *, required: bool = False) -> str | None:
        """The text, without blanks around it."""
        entry = self._entry(key, required=required)
        return None if entry is None else self._text(entry, key)

    def _text(self, entry: Located, what: str) -> str | None:
        if not isinstance(entry.value, str):
            self._faults.add(entry.line, f"{what!r} is a text, not {entry.kind}", "put the text in quotes")
            return None
        if not entry.value.strip():
            self._faults.add(entry.line, f"{what!r} is empty", "give it a value or remove the line")
            return None
        return entry.value.strip(" \t\r\n")  # a block scalar ends in a line break

    def parsed(self, key: str, parse: Callable[[str], T], *, required: bool = False) -> T | None:
        """The text, parsed; an InvalidText that `parse` raises becomes a fault."""
        entry = self._entry(key, required=required)
        return None if entry is None else self._parsed(entry, key, parse)

    def _parsed(self, entry: Located, key: str, parse: Callable[[str], T]) -> T | None:
        text = self._text(entry, key)
        if text is None:
            return None
        try:
            return parse(text)
        except InvalidText as error:
            self._faults.add(entry.line, f"{key!r}: {error.what}", error.hint)
            return None

    def items(self, key: str, *, required: bool = False) -> tuple[Located, ...]:
        """The items of a list that is not empty."""
        entry = self._entry(key, required=required)
        if entry is None:
            return ()
        if not isinstance(entry.value, tuple):
            self._faults.add(
                entry.line, f"{key!r} is a list, not {entry.kind}", f"write `{key}: […]` or `- ` lines"
            )
            return ()
        if not entry.value:
            self._faults.add(entry.line, f"{key!r} is an empty list", "fill it or remove the line")
        return entry.value

    def list_of(
        self,
        key: str,
        parse: Callable[[str], T],
        *,
        required: bool = False,
        default: tuple[T, ...] = (),
    ) -> tuple[T, ...]:
        """The texts of a list, each parsed; `default` without the key."""
        if not required and not self.has(key):
            return default
        values = (self._parsed(item, key, parse) for item in self.items(key, required=required))
        return tuple(value for value in values if value is not None)

    def mapping(self, key: str) -> Located | None:
        """The value of the key, to be opened as a section."""
        return self._entry(key)

    def boolean(self, key: str) -> bool:
        """True or false; false without the key."""
        entry = self._entry(key)
        if entry is None:
            return False
        if not isinstance(entry.value, bool):
            self._faults.add(entry.line, f"{key!r} is not true or false", "write true or false")
            return False
        return entry.value

    def number(self, key: str, maximum: float) -> float | None:
        """A number above 0 and at most `maximum`."""
        entry = self._entry(key)
        if entry is None:
            return None
        value = entry.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._faults.add(entry.line, f"{key!r} is a number, not {entry.kind}", "write it as 0.25")
            return None
        if not 0 < value <= maximum:
            self._faults.add(entry.line, f"{key!r} is out of range", f"it is above 0 and at most {maximum:g}")
            return None
        return float(value)
