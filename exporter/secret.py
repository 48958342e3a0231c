"""Text that must not be printed."""

from __future__ import annotations

SHOWN = "**********"


class SecretStr:
    """A text that only `get_secret_value` returns; str() and repr() mask it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        return SHOWN if self._text else ""

    def __repr__(self) -> str:
        return f"SecretStr({str(self)!r})"
