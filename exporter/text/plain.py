"""A report for a terminal: plain characters, at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.text.characters import columns_of, printable, wrap
from exporter.text.content import Content, Item, Section

WIDTH = 80
# Narrower tables and long names would be unreadable.
NARROWEST = 50
LABEL_COLUMNS = 9
GUTTER = 2
INDENT = 2


def width_for(columns: int) -> int:
    """Return the width of a text on a terminal with so many columns."""
    return max(NARROWEST, min(WIDTH, columns))


def write(content: Content, width: int = WIDTH) -> str:
    """Return the whole report in lines of at most `width` columns, ending in a newline."""
    lines = [*_block(f"pg-index-exporter {content.title}", 0, width)]
    for line in content.origin:
        lines += _block(line, 0, width)
    lines.append("")
    for line in content.summary:
        lines += _block(line, 0, width)
    for section in content.sections:
        lines += ["", *_section(section, width)]
    return "\n".join(lines) + "\n"


def write_item(item: Item, width: int = WIDTH) -> str:
    """Return one entry as text, ending in a newline."""
    return "\n".join(_item(item, width)) + "\n"


def _section(section: Section, width: int) -> Iterator[str]:
    if section.rows:
        yield from _table(section, width)
        return
    yield from _block(section.title, 0, width)
    for item in section.items:
        yield from _item(item, width)


def _item(item: Item, width: int) -> Iterator[str]:
    indent = " " * INDENT * (item.depth + 1)
    lead = indent + (item.label.ljust(LABEL_COLUMNS) if item.label else "")
    room = width - len(lead) - (GUTTER + len(item.aside) if item.aside else 0)
    first, *rest = wrap(printable(item.line), room, room - (0 if item.label else INDENT))
    gap = " " * (room - columns_of(first) + GUTTER) if item.aside else ""
    yield f"{lead}{first}{gap}{item.aside}"
    # Without a label the margin alone separates entries.
    hanging = " " * (len(lead) + (0 if item.label else INDENT))
    for line in rest:
        yield hanging + line
    for statement in (item.sql or "").splitlines():
        yield from _block(statement, len(lead), width)
    for line in (item.code or "").splitlines():
        yield from _code(line, len(indent) + INDENT, width)
    for detail in item.details:
        yield from _block(detail, len(lead), width)
    if item.hint is not None:
        yield from _block(item.hint, len(lead), width, "-> ")


def _code(text: str, margin: int, width: int) -> Iterator[str]:
    """The line with its indentation, broken under its first word where it is too long."""
    words = text.lstrip(" ")
    margin += min(len(text) - len(words), width // 2)
    for number, line in enumerate(wrap(printable(words), width - margin, width - margin - INDENT)):
        yield f"{' ' * (margin + (INDENT if number else 0))}{line}"


def _table(section: Section, width: int) -> Iterator[str]:
    cells = [section.columns, *(row.figures for row in section.rows)]
    widths = [GUTTER + max(map(len, column)) for column in zip(*cells, strict=True)]
    yield _aligned(section.title, section.columns, widths, width)
    for row in section.rows:
        name = " " * INDENT + printable(row.name)
        if columns_of(name) > width - sum(widths):
            yield from _block(row.name, INDENT, width)
            name = ""
        yield _aligned(name, row.figures, widths, width)
        if row.note:
            yield from _block(row.note, 2 * INDENT, width)


def _aligned(name: str, figures: Sequence[str], widths: Sequence[int], width: int) -> str:
    right = "".join(figure.rjust(room) for figure, room in zip(figures, widths, strict=True))
    return name + " " * (width - columns_of(name) - len(right)) + right


def _block(text: str, margin: int, width: int, lead: str = "") -> Iterator[str]:
    """Yield the text wrapped, further lines under the first."""
    space = " " * margin
    for number, line in enumerate(wrap(printable(text), width - margin - len(lead))):
        yield f"{space}{lead if number == 0 else ' ' * len(lead)}{line}"
