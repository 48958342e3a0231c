"""Characters that are safe to print: names and messages can hold newlines, escapes, reversed text."""

from __future__ import annotations

import unicodedata

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """Return the text on one line, with control characters escaped."""
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")


def columns_of(text: str) -> int:
    """Return the width of the text on a terminal: East Asian wide characters take two columns."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Return the text in at most `width` columns, ending in … if it was cut."""
    if columns_of(text) <= width:
        return text
    kept, room = "", width - 1
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept += character
    return kept + "…"


def pad(text: str, width: int) -> str:
    """Return the text padded with spaces to `width` columns."""
    return text + " " * (width - columns_of(text))


def wrap(text: str, width: int, later_width: int | None = None) -> list[str]:
    """Return the text in lines of at most `width` columns, broken at spaces and inside longer words.

    `later_width` is the width of all lines but the first, if it differs.
    """
    lines: list[str] = []
    line = ""
    room = width
    for word in text.split(" "):
        candidate = f"{line} {word}" if line else word
        if columns_of(candidate) <= room:
            line = candidate
            continue
        if line:
            lines.append(line)
            room = width if later_width is None else later_width
        *full, line = _pieces(word, room)
        lines += full
        if lines and later_width is not None:
            room = later_width
    return [*lines, line]


def _pieces(word: str, width: int) -> list[str]:
    pieces = [""]
    for character in word:
        if columns_of(pieces[-1]) + _columns(character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces
