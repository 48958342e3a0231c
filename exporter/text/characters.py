"""Characters that are safe to show: names and messages can hold newlines, escapes and reversed text."""

from __future__ import annotations

import unicodedata

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """The text on one line, every character that a terminal would act upon written as an escape."""
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")


def columns_of(text: str) -> int:
    """How many columns of a terminal the text takes: East Asian wide characters take two."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns, its end cut off and shown to be."""
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
    """The text with spaces up to `width` columns."""
    return text + " " * (width - columns_of(text))


def wrap(text: str, width: int, later_width: int | None = None) -> list[str]:
    """The text in lines of at most `width` columns, broken at spaces, and inside words that are longer.

    `later_width` is that of every line but the first, where it differs.
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
