"""The live display of running steps: bars on a terminal, log lines elsewhere.

Writes to standard error, so that standard output holds results only. On a terminal each running step has a
bar, its rate, and below it the sessions that it waits for and those that wait for it. Elsewhere, and on a
terminal that cannot move its cursor, a line is written for each change, and once a minute without a change.
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

from exporter.migrate.events import Event, EventKind, WatchObservation
from exporter.model import Step, StepKind, StepStatus
from exporter.terminal.bars import Bar, rows_of
from exporter.terminal.words import (
    VERB_WIDTH,
    brief_waits,
    percent,
    rate_and_remaining,
    short_phase,
    subject,
    verb,
)
from exporter.text.characters import wrap
from exporter.text.figures import duration

_LINE_EVERY_SHARE = 0.1
_LINE_EVERY_SECONDS = 60.0
# A phase that lasts less than this gets no line.
_LINE_AFTER_SECONDS = 1.0
_DROPS = {StepKind.DROP, StepKind.DROP_PARENT}


@dataclass(slots=True)
class _Shown:
    """A running step and what the last line showed."""

    started_seconds: float
    observation: WatchObservation | None = None
    share: float = 0.0
    logged_phase: str = ""
    logged_share: float = 0.0
    logged_seconds: float = 0.0


@dataclass(slots=True)
class BuildDisplay:
    """Shows the events of a run: a context manager that any thread calls with each event.

    `step_count` is the number of steps, None if unknown.
    """

    console: Console
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    step_count: int | None = None
    _ended_count: int = 0
    _live: Live | None = None
    _steps: dict[Step, _Shown] = field(default_factory=dict)
    # The first steps of the tables that wait for disk space.
    _waiting_for_disk: set[Step] = field(default_factory=set)
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
                    self._steps[event.step] = _Shown(self.monotonic(), logged_seconds=self.monotonic())
                    if self._live is None:
                        self._say(event.step, "started")
                case EventKind.PROGRESS if event.observation is not None:
                    self._advance(event.step, event.observation)
                case EventKind.WAIT:
                    # On a terminal the bar shows the wait as long as it lasts.
                    if self._live is None:
                        self._say(event.step, event.text)
                case EventKind.WAIT_FOR_DISK if event.text:
                    self._waiting_for_disk.add(event.step)
                    self._say(event.step, event.text)
                case EventKind.WAIT_FOR_DISK:
                    self._waiting_for_disk.discard(event.step)
                case EventKind.NOTE:
                    self._say(event.step, event.text)
                case EventKind.FINISHED if event.result is not None:
                    self._finish(event)
                case _:
                    raise ValueError(f"an event of kind {event.kind} lacks its part")

    def stage(self, text: str) -> None:
        """Show what is done before or after the steps."""
        self._print(text, "dim")

    @property
    def _has_bars(self) -> bool:
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def _advance(self, step: Step, observation: WatchObservation) -> None:
        shown = self._steps.get(step)
        # The last observation of a build can arrive after its end.
        if shown is None:
            return
        shown.observation = observation
        shown.share = observation.estimate.share
        if self._live is not None:
            return
        phase = short_phase(observation)
        now = self.monotonic()
        since_seconds = now - shown.logged_seconds
        has_changed = phase != shown.logged_phase or shown.share >= shown.logged_share + _LINE_EVERY_SHARE
        is_due = has_changed and since_seconds >= _LINE_AFTER_SECONDS
        if is_due or since_seconds >= _LINE_EVERY_SECONDS:
            shown.logged_phase, shown.logged_share, shown.logged_seconds = phase, shown.share, now
            # A WAIT event has just named the blockers; a line without a change repeats them.
            waits = () if has_changed else brief_waits(observation)
            parts = [phase, *rate_and_remaining(observation), *waits]
            self._say(step, f"{percent(shown.share)}  {', '.join(parts)}")

    def _finish(self, event: Event) -> None:
        result = event.result
        if result is None:
            return
        self._steps.pop(event.step, None)
        self._ended_count += 1
        done = result.status is StepStatus.DONE
        words = result.status.value.replace("_", " ")
        if not done and result.message:
            words += f": {result.message}"
        # A step that was never started took no time that could be measured.
        took = "" if result.status is StepStatus.SKIPPED else f" ({duration(result.seconds)})"
        # On a terminal the count is below the bars.
        count = f", {self._count()}" if self._live is None and self.step_count is not None else ""
        self._say(event.step, f"{words}{took}{count}", is_wrong=not done)

    def _say(self, step: Step, text: str, *, is_wrong: bool = False) -> None:
        is_warning = is_wrong or text.startswith("WARNING")
        self._print(f"{verb(step)} {subject(step)}  {text}", "yellow" if is_warning else "")

    def _print(self, line: str, style: str) -> None:
        if not self._has_bars:
            # A log is read later: each line has its time.
            self.console.print(
                f"{self.now():%Y-%m-%d %H:%M:%SZ}  {line}", markup=False, highlight=False, soft_wrap=True
            )
            return
        first, *rest = wrap(line, self.console.width - 1, self.console.width - VERB_WIDTH - 2)
        for part in (first, *(f"{' ' * (VERB_WIDTH + 1)}{line}" for line in rest)):
            self.console.print(Text(part, style=style), soft_wrap=True)

    def _count(self) -> str:
        return f"{self._ended_count} of {self.step_count} steps"

    def _bars(self) -> Group:
        # Without the lock: the console holds its own lock here, and printing takes both in the other order.
        now = self.monotonic()
        steps = list(self._steps.items())
        bars = [
            Bar(step, now - shown.started_seconds, shown.share, shown.observation) for step, shown in steps
        ]
        footer = self._footer(step.kind for step, _ in steps)
        # One row less than the height: a full terminal would scroll.
        return Group(*rows_of(bars, self.console.width, max(2, self.console.height - 2)), *footer)

    def _footer(self, kinds: Iterable[StepKind]) -> list[Text]:
        running = set(kinds)
        if self.step_count is None or not running:
            return []
        on_interrupt = (
            "Ctrl-C stops; a drop that is stopped half-way leaves an INVALID index"
            if running & _DROPS
            else "Ctrl-C cancels and cleans up"
        )
        count = len(self._waiting_for_disk)
        waiting = f", {count} {'table waits' if count == 1 else 'tables wait'} for disk" if count else ""
        row = Text(f"{self._count()} done{waiting}. {on_interrupt}.", "dim")
        row.truncate(self.console.width - 1, overflow="ellipsis")
        return [row]
