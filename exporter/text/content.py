"""What a report is made of, free of any markup: sections of items and tables of plain strings."""

from __future__ import annotations

from dataclasses import dataclass

NOT_KNOWN = "-"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing told: a short label, a line, what belongs to it and, in `hint`, what to do next."""

    label: str
    line: str
    aside: str = ""
    details: tuple[str, ...] = ()
    sql: str | None = None
    hint: str | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: its name, a figure per column, and a note."""

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
    """A whole report: who and where, what it came to, and the sections."""

    title: str
    origin: tuple[str, ...]
    summary: tuple[str, ...]
    sections: tuple[Section, ...]
