"""Label blocks: the text between a sample's name and its value, the same from page to page."""

from __future__ import annotations

from collections.abc import Sequence


class LabelBlocks:
    """Label blocks by their names and values, kept while the last two pages used them."""

    def __init__(self) -> None:
        self._now: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}
        self._before: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}

    def block(self, names: tuple[str, ...], values: tuple[str, ...]) -> str:
        """The block `{name="value",…}`, empty without labels."""
        key = (names, values)
        block = self._now.get(key)
        if block is None:
            block = self._before.get(key)
            if block is None:
                block = label_block(names, values)
            self._now[key] = block
        return block

    def end_page(self) -> None:
        """Forgets what this page and the one before did not use."""
        self._before, self._now = self._now, {}


def label_block(names: Sequence[str], values: Sequence[str]) -> str:
    """The labels as both formats write them, whatever characters the values hold."""
    if not names:
        return ""
    pairs = (f'{name}="{escape(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def escape(value: str) -> str:
    """A label value as written between double quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
