"""The figures of a run, each with its unit, its target and whether that is met."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from rich.console import Console
from rich.table import Table

Bound = Literal["at most", "at least"]
LOST = "scrapes were lost"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; None where it could not be measured, and `note` says why. `case` is its heading."""

    name: str
    value: float | None
    unit: str
    bound: Bound | None = None
    limit: float = 0.0
    note: str = ""
    case: str = ""

    @property
    def finite(self) -> float | None:
        """The value where there is one to write: a lost scrape takes for ever."""
        return None if self.value is None or math.isinf(self.value) else self.value

    @property
    def target(self) -> str | None:
        """The target in words, None for a figure that only informs."""
        return None if self.bound is None else f"{self.bound} {self.limit:g}"

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target or without a value."""
        if self.bound is None or self.value is None:
            return None
        return self.value <= self.limit if self.bound == "at most" else self.value >= self.limit


def under(case: str, figures: Iterable[Figure]) -> list[Figure]:
    """The figures under a heading."""
    return [replace(figure, case=case) for figure in figures]


def ratio(name: str, over: float, under: float, bound: Bound, limit: float) -> Figure:
    """A quotient with a target."""
    return Figure(name, over / under, "x", bound, limit)


def milliseconds(name: str, seconds: float, at_most: float | None = None) -> Figure:
    """A short time, with or without a target in milliseconds."""
    return Figure(name, seconds * 1e3, "ms", *_at_most(at_most))


def seconds(name: str, value: float, at_most: float | None = None) -> Figure:
    """A time, with or without a target in seconds."""
    return Figure(name, value, "s", *_at_most(at_most))


def megabytes(name: str, size_bytes: float, at_most: float | None = None) -> Figure:
    """A size, with or without a target in megabytes of a million bytes."""
    return Figure(name, size_bytes / 1e6, "MB", *_at_most(at_most))


def _at_most(limit: float | None) -> tuple[Bound | None, float]:
    return (None, 0.0) if limit is None else ("at most", limit)


def as_json(figures: Iterable[Figure]) -> str:
    """A list of {name, value, unit, target, met}; a figure that could not be measured has a note too."""
    rows = [
        {
            "name": f"{figure.case}: {figure.name}",
            "value": None if figure.finite is None else float(f"{figure.finite:.4g}"),
            "unit": figure.unit,
            "target": figure.target,
            "met": figure.met,
            **({} if figure.finite is not None else {"note": figure.note or LOST}),
        }
        for figure in figures
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def as_markdown(figures: Iterable[Figure]) -> str:
    """The table as docs/performance.md has it."""
    lines = ["| figure | value | target | met |", "|---|---:|---:|---|"]
    for case, found in groupby(figures, key=lambda figure: figure.case):
        lines.append(f"| **{case}** | | | |")
        lines += [f"| {' | '.join(_cells(figure))} |" for figure in found]
    return "\n".join(lines) + "\n"


def print_table(figures: Sequence[Figure], console: Console) -> None:
    """Writes the table to the terminal."""
    table = Table(box=None, pad_edge=False)
    table.add_column("figure")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("target", justify="right", no_wrap=True)
    table.add_column("met")
    colours = {True: "green", False: "red", None: None}
    for case, found in groupby(figures, key=lambda figure: figure.case):
        table.add_row(case, style="bold")
        for figure in found:
            name, *cells = _cells(figure)
            table.add_row(f"  {name}", *cells, style=colours[figure.met])
    console.print(table)


def _cells(figure: Figure) -> tuple[str, str, str, str]:
    finite = figure.finite
    value = figure.note or LOST if finite is None else f"{_rounded(finite)} {figure.unit}".rstrip()
    return figure.name, value, figure.target or "", {True: "yes", False: "no", None: ""}[figure.met]


def _rounded(value: float) -> str:
    """Three figures, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
