"""What a person sees while steps run: bars on a terminal, lines elsewhere.

Everything here goes to standard error, so that standard output holds results only. On a terminal every step
under way has a bar, how fast it goes, and under it whom it waits for and who queues behind it. Elsewhere,
and on a terminal that cannot move its cursor, there is a line for every change, and one now and then while
nothing changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from exporter.migrate.execute.executor import Event, EventKind
from exporter.migrate.execute.watch.watcher import Look
from exporter.model import Step, StepKind, StepStatus
from exporter.terminal.bars import Bar, rows_of
from exporter.terminal.words import (
    VERB_WIDTH,
    brief_waits,
    pace,
    percent,
    short_phase,
    subject,
    verb,
)
from exporter.text.characters import wrap
from exporter.text.figures import duration

_LINE_EVERY_SHARE = 0.1
_LINE_EVERY_SECONDS = 60.0
# What passes within that time is not worth a line.
_LINE_AFTER_SECONDS = 1.0
_DROPS = {StepKind.DROP, StepKind.DROP_PARENT}


@dataclass(slots=True)
class _Shown:
    """A step under way and what was told of it last."""

    started_seconds: float
    look: Look | None = None
    share: float = 0.0
    told_phase: str = ""
    told_share: float = 0.0
    told_seconds: float = 0.0


@dataclass(slots=True)
class BuildDisplay:
    """Shows the events of a build; a context manager, to be called with each event from any thread.

    `step_count` is how many steps there are, None where that is not known.
    """

    console: Console
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    step_count: int | None = None
    _ended_count: int = 0
    _live: Live | None = None
    _steps: dict[Step, _Shown] = field(default_factory=dict)
    # One for each table that waits for the disk.
    _queued: set[Step] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> BuildDisplay:
        if self._has_bars:
            self._live = Live(
                console=self.console, get_renderable=self._bars, transient=True, refresh_per_second=4
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event.kind:
                case EventKind.STARTED:
                    self._steps[event.step] = _Shown(self.monotonic(), told_seconds=self.monotonic())
                    if self._live is None:
                        self._say(event.step, "started")
                case EventKind.PROGRESS if event.look is not None:
                    self._advance(event.step, event.look)
                case EventKind.WAIT:
                    # Its row stands under the bar for as long as it lasts.
                    if self._live is None:
                        self._say(event.step, event.text)
                case EventKind.WAIT_FOR_DISK if event.text:
                    self._queued.add(event.step)
                    self._say(event.step, event.text)
                case EventKind.WAIT_FOR_DISK:
                    self._queued.discard(event.step)
                case EventKind.NOTE:
                    self._say(event.step, event.text)
                case EventKind.FINISHED if event.result is not None:
                    self._finish(event)
                case _:
                    raise ValueError(f"an event of kind {event.kind} lacks its part")

    def stage(self, text: str) -> None:
        """Tells what is done before or after the steps, which may take a while."""
        self._print(text, "dim")

    @property
    def _has_bars(self) -> bool:
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def _advance(self, step: Step, look: Look) -> None:
        shown = self._steps.get(step)
        # The last look at a build can arrive after its end.
        if shown is None:
            return
        shown.look = look
        shown.share = look.estimate.share
        if self._live is not None:
            return
        phase = short_phase(look)
        now = self.monotonic()
        since = now - shown.told_seconds
        has_changed = phase != shown.told_phase or shown.share >= shown.told_share + _LINE_EVERY_SHARE
        if (has_changed and since >= _LINE_AFTER_SECONDS) or since >= _LINE_EVERY_SECONDS:
            shown.told_phase, shown.told_share, shown.told_seconds = phase, shown.share, now
            # A line of its own has just told whom it waits for; one without a change reminds of it.
            waits = () if has_changed else brief_waits(look)
            self._say(step, f"{percent(shown.share)}  {', '.join([phase, *pace(look), *waits])}")

    def _finish(self, event: Event) -> None:
        result = event.result
        if result is None:
            return
        self._steps.pop(event.step, None)
        self._ended_count += 1
        done = result.status is StepStatus.DONE
        words = "done" if done else f"{result.status.value.replace('_', ' ')}: {result.message}"
        # On a terminal the count stands below the bars.
        count = f", {self._count()}" if self._live is None and self.step_count is not None else ""
        self._say(event.step, f"{words} ({duration(result.seconds)}){count}", is_wrong=not done)

    def _say(self, step: Step, text: str, *, is_wrong: bool = False) -> None:
        is_warning = is_wrong or text.startswith("WARNING")
        self._print(f"{verb(step)} {subject(step)}  {text}", "yellow" if is_warning else "")

    def _print(self, line: str, style: str) -> None:
        if not self._has_bars:
            # A file has a reader later, who asks when.
            self.console.print(
                f"{self.now():%Y-%m-%d %H:%M:%SZ}  {line}", markup=False, highlight=False, soft_wrap=True
            )
            return
        first, *rest = wrap(line, self.console.width - 1, self.console.width - VERB_WIDTH - 2)
        for part in (first, *(f"{' ' * (VERB_WIDTH + 1)}{one}" for one in rest)):
            self.console.print(Text(part, style=style), soft_wrap=True)

    def _count(self) -> str:
        return f"{self._ended_count} of {self.step_count} steps"

    def _bars(self) -> Group:
        # Without the lock: the console, which asks for this, has one of its own, and printing takes both.
        now = self.monotonic()
        steps = list(self._steps.items())
        bars = [Bar(step, now - shown.started_seconds, shown.share, shown.look) for step, shown in steps]
        footer = self._footer(step.kind for step, _ in steps)
        # One row less than there are: a full terminal would scroll.
        return Group(*rows_of(bars, self.console.width, max(2, self.console.height - 2)), *footer)

    def _footer(self, kinds: Iterable[StepKind]) -> list[Text]:
        running = set(kinds)
        if self.step_count is None or not running:
            return []
        ends = (
            "Ctrl-C stops; a drop stopped half-way leaves an INVALID index"
            if running & _DROPS
            else "Ctrl-C cancels and cleans up"
        )
        count = len(self._queued)
        queued = f", {count} {'table waits' if count == 1 else 'tables wait'} for disk" if count else ""
        row = Text(f"{self._count()} done{queued}. {ends}.", "dim")
        row.truncate(self.console.width - 1, overflow="ellipsis")
        return [row]
