"""The watched patterns as one regular expression of PostgreSQL."""

from __future__ import annotations

import re

from exporter.model import WatchAll, WatchDeclared

Watch = WatchDeclared | WatchAll | tuple[str, ...]


def watch_pattern(watch: Watch) -> str | None:
    """The shell patterns as one regular expression of PostgreSQL, None where nothing is to be filtered.

    `*`, `?`, `[seq]` and `[!seq]` mean what they mean in Python's fnmatch.
    """
    if isinstance(watch, str):
        return None
    return "^(?:" + "|".join(map(_expression, watch)) + ")$"


# An unclosed bracket is a literal; the first one inside closes nothing: "[]" is two letters.
_PATTERN_PART = re.compile(r"\[(?:!|(?!!))(?:\][^\]]*|[^\]]+)\]|.", re.DOTALL)


def _expression(pattern: str) -> str:
    parts = []
    for part in _PATTERN_PART.findall(pattern):
        if part == "*":
            parts.append(".*")
        elif part == "?":
            parts.append(".")
        elif len(part) > 1:
            parts.append(_bracket(part[1:-1]))
        else:
            parts.append(_literal(part))
    return "".join(parts)


def _bracket(inside: str) -> str:
    negated = inside.startswith("!")
    characters = []
    for first, dash, last in re.findall(r"(.)(?:(-)(.))?", inside[negated:], re.DOTALL):
        if not dash:
            characters.append((first, first))
        elif first <= last:
            characters.append((first, last))
    if not characters:
        return "." if negated else "(?!)"
    ranges = "".join(_code(first) + "-" + _code(last) for first, last in characters)
    return f"[{'^' if negated else ''}{ranges}]"


def _literal(character: str) -> str:
    return character if character.isalnum() or character == "_" else _code(character)


def _code(character: str) -> str:
    return f"\\U{ord(character):08x}"
