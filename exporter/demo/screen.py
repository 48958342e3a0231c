"""The screen of the demo: headings, progress, and the table of times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from exporter.demo.workload import KINDS, Kind, Latency, WorkloadResult

TITLES: dict[Kind, str] = {
    "message_history": "message history",
    "user_timeline": "user timeline",
    "feed": "feed",
    "insert_message": "write a message",
    "delete_message": "delete a message",
}
# A smaller ratio is noise of two short runs.
NOTEWORTHY_RATIO = 1.2


class Screen:
    """The terminal output of the demo; each part begins with a numbered heading."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._part = 0

    def heading(self, text: str) -> None:
        """Begin the next part."""
        self._part += 1
        self.console.print(
            f"\n{self._part}  {text}", style="bold", markup=False, highlight=False, soft_wrap=True
        )

    def line(self, text: str = "") -> None:
        """Print a line of a part; the terminal wraps a long one, so that it can be copied whole."""
        self.console.print(f"   {text}".rstrip(), markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, what: str, done: str) -> Iterator[Callable[[float, float], None]]:
        """Show a bar, moved by (done, total); print a line with the duration at the end.

        In a file or a pipe there is only the line.
        """
        started = time.monotonic()
        with Progress(
            TextColumn("   {task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        ) as bar:
            task = bar.add_task(what, total=1.0)
            yield lambda share, total: bar.update(task, completed=share, total=total)
        self.line(f"{done} ({time.monotonic() - started:.1f} s)")

    def comparison(self, before: WorkloadResult, after: WorkloadResult) -> None:
        """Print the table of times before and after."""
        self.console.print(comparison_table(before, after))


def comparison_table(before: WorkloadResult, after: WorkloadResult) -> Table:
    """Return median and 95th percentile of each kind without and with the indexes, and their ratio."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("  ", no_wrap=True)
    for name in ("without:\nmedian", "\np95", "with:\nmedian", "\np95", "\nmedian"):
        table.add_column(name, justify="right", no_wrap=True)
    for kind in KINDS:
        old, new = before.latency(kind), after.latency(kind)
        table.add_row(f"   {TITLES[kind]}", *_cells(old), *_cells(new), _ratio_cell(old, new))
    return table


def format_seconds(seconds: float) -> str:
    """Return a duration with three significant digits."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        value = seconds * factor
        if value >= 1:
            return f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"
    return f"{seconds * 1e3:.2f} ms"


def format_ratio(before_seconds: float, after_seconds: float) -> str:
    """Return in words how much faster or slower it became."""
    ratio = before_seconds / after_seconds
    if ratio >= NOTEWORTHY_RATIO:
        return f"{ratio:.{0 if ratio >= 10 else 1}f} x faster"
    if 1 / ratio >= NOTEWORTHY_RATIO:
        return f"{1 / ratio:.1f} x slower"
    return "about the same"


def _cells(latency: Latency | None) -> tuple[str, str]:
    if latency is None:
        return "-", "-"
    return format_seconds(latency.median_seconds), format_seconds(latency.p95_seconds)


def _ratio_cell(old: Latency | None, new: Latency | None) -> str:
    if old is None or new is None:
        return "-"
    return format_ratio(old.median_seconds, new.median_seconds)
