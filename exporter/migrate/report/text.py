"""A report for a terminal: plain characters, 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.migrate.report.characters import columns_of, printable, wrap
from exporter.migrate.report.content import Content, Item, Row, Section

WIDTH = 80
LABEL_COLUMNS = 9
FIGURE_COLUMNS = 11
INDENT = 2


def write(content: Content) -> str:
    """The whole report, ending in a newline."""
    lines = [*_block(f"pg-index-exporter {content.title}", 0)]
    for line in content.origin:
        lines += _block(line, 0)
    lines.append("")
    for line in content.summary:
        lines += _block(line, 0)
    for section in content.sections:
        lines += ["", *_section(section)]
    return "\n".join(lines) + "\n"


def _section(section: Section) -> Iterator[str]:
    if section.rows:
        yield _aligned(section.title, section.columns)
        for row in section.rows:
            yield from _row(row)
        return
    yield section.title
    for item in section.items:
        yield from _item(item)


def _item(item: Item) -> Iterator[str]:
    margin = INDENT + (LABEL_COLUMNS if item.label else 0)
    lead = " " * INDENT + (item.label.ljust(LABEL_COLUMNS) if item.label else "")
    room = WIDTH - margin - (len(item.aside) + 2 if item.aside else 0)
    first, *rest = wrap(printable(item.line), room)
    gap = " " * (room - columns_of(first) + 2) if item.aside else ""
    yield f"{lead}{first}{gap}{item.aside}"
    for line in rest:
        yield " " * margin + line
    for statement in (item.sql or "").splitlines():
        yield from _block(statement, margin)
    for detail in item.details:
        yield from _block(detail, margin)
    if item.mend is not None:
        yield from _block(item.mend, margin, "-> ")


def _row(row: Row) -> Iterator[str]:
    name = printable(row.name)
    if INDENT + columns_of(name) + 1 > WIDTH - FIGURE_COLUMNS * len(row.figures):
        yield from _block(name, INDENT)
        name = ""
    yield _aligned(" " * INDENT + name, row.figures)
    if row.note:
        yield from _block(row.note, 2 * INDENT)


def _aligned(name: str, figures: tuple[str, ...]) -> str:
    right = "".join(figure.rjust(FIGURE_COLUMNS) for figure in figures)
    return name + " " * (WIDTH - columns_of(name) - len(right)) + right


def _block(text: str, margin: int, lead: str = "") -> Iterator[str]:
    """The text wrapped, further lines under the first."""
    space = " " * margin
    for number, line in enumerate(wrap(printable(text), WIDTH - margin - len(lead))):
        yield f"{space}{lead if number == 0 else ' ' * len(lead)}{line}"
