"""The parts of a report without markup: sections of items, and tables of plain strings."""

from __future__ import annotations

from dataclasses import dataclass

NOT_KNOWN = "-"


@dataclass(frozen=True, slots=True)
class Item:
    """One entry: a short label, a line, its details and, in `hint`, what to do next.

    `code` are lines that keep their indentation.
    """

    label: str
    line: str
    aside: str = ""
    details: tuple[str, ...] = ()
    sql: str | None = None
    hint: str | None = None
    depth: int = 0
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: a name, a figure per column, and a note."""

    name: str
    figures: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with items, or with rows under `columns`."""

    title: str
    items: tuple[Item, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """A whole report: title, database and run, summary, and sections."""

    title: str
    origin: tuple[str, ...]
    summary: tuple[str, ...]
    sections: tuple[Section, ...]
