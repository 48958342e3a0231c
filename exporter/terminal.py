"""What a person sees while steps run: bars on a terminal, lines elsewhere.

Everything here goes to standard error, so that standard output holds results only. On a terminal every step
under way has a bar, how fast it goes, and under it whom it waits for and who queues behind it. Elsewhere
there is a line for every change, and one now and then while nothing changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from exporter.migrate.build import Event, EventKind
from exporter.migrate.figures import byte_size
from exporter.migrate.watch.watcher import Look
from exporter.model import Step, StepKind, StepStatus
from exporter.postgres.sessions import OtherSession, shown_duration, shown_on_one_line

_LINE_EVERY_SHARE = 0.1
_LINE_EVERY_SECONDS = 60.0
# What passes within that time is not worth a line.
_LINE_AFTER_SECONDS = 1.0
_NAME_WIDTH = 27
_BAR_WIDTH = 10
_BLOCK_BYTES = 8192


def subject(step: Step) -> str:
    """What a step works on, on one line whatever the name holds."""
    return shown_on_one_line(step.index.name if step.index is not None else step.table.quoted)


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
    """Shows the events of a build; a context manager, to be called with each event from any thread."""

    console: Console
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _live: Live | None = None
    _steps: dict[Step, _Shown] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> BuildDisplay:
        if self.console.is_terminal:
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
                case EventKind.NOTE:
                    self._say(event.step, event.text)
                case EventKind.FINISHED if event.result is not None:
                    self._finish(event)
                case _:
                    raise ValueError(f"an event of kind {event.kind} lacks its part")

    def _advance(self, step: Step, look: Look) -> None:
        shown = self._steps.get(step)
        # The last look at a build can arrive after its end.
        if shown is None:
            return
        shown.look = look
        shown.share = look.estimate.share
        if self._live is not None:
            return
        phase = _short_phase(look)
        now = self.monotonic()
        since = now - shown.told_seconds
        has_changed = phase != shown.told_phase or shown.share >= shown.told_share + _LINE_EVERY_SHARE
        if (has_changed and since >= _LINE_AFTER_SECONDS) or since >= _LINE_EVERY_SECONDS:
            shown.told_phase, shown.told_share, shown.told_seconds = phase, shown.share, now
            # Notes have just told whom it waits for; a line without a change reminds of it.
            waits = () if has_changed else _brief_waits(look)
            self._say(step, f"{_percent(shown.share)}  {', '.join([phase, *_pace(look), *waits])}")

    def _finish(self, event: Event) -> None:
        result = event.result
        if result is None:
            return
        self._steps.pop(event.step, None)
        done = result.status is StepStatus.DONE
        words = "done" if done else f"{result.status.value.replace('_', ' ')}: {result.message}"
        self._say(event.step, f"{words} ({result.seconds:.1f} s)")

    def _say(self, step: Step, text: str) -> None:
        line = f"{_VERBS[step.kind]:<7} {subject(step)}  {text}"
        if self._live is None:
            # A file has a reader later, who asks when.
            self.console.print(
                f"{self.now():%Y-%m-%d %H:%M:%SZ}  {line}", markup=False, highlight=False, soft_wrap=True
            )
        else:
            style = "yellow" if text.startswith("WARNING") else ""
            self._live.console.print(Text(line, style=style))

    def _bars(self) -> Group:
        # Without the lock: the console, which asks for this, has one of its own, and printing takes both.
        steps = list(self._steps.items())
        width = self.console.width
        return Group(*(row for step, shown in steps for row in self._rows(step, shown, width)))

    def _rows(self, step: Step, shown: _Shown, width: int) -> Iterator[Text]:
        look = shown.look
        name = subject(step)
        if len(name) > _NAME_WIDTH:
            name = name[: _NAME_WIDTH - 1] + "…"
        row = Text(f"{_VERBS[step.kind]:<7} {name:<{_NAME_WIDTH}} ")
        filled = round(shown.share * _BAR_WIDTH)
        row.append("━" * filled, "green").append("╌" * (_BAR_WIDTH - filled), "dim")
        row.append(f" {_clock(self.monotonic() - shown.started_seconds):>7}")
        if look is not None and look.build.phase is not None:
            row.append(f" {_percent(shown.share)}")
        row.append(f" {_short_phase(look)}" if look is not None else "", "dim")
        details = list(_details(look)) if look is not None else []
        for one in (row, *details):
            # Cut here, so that a bar never takes more lines than it has rows.
            one.truncate(width - 1, overflow="ellipsis")
            yield one


def _details(look: Look) -> Iterator[Text]:
    pace = ", ".join(_pace(look))
    if pace:
        yield Text(f"        {pace}", "dim")
    for one in look.blockers:
        yield Text(f"        waits {shown_duration(look.stalled_seconds)} for {_brief(one)}", "yellow")
    more = _lockers_after(look)
    if more:
        yield Text(f"        and then for {more} more", "yellow")
    if look.victims:
        yield Text(f"        {_brief_victims(look)}", "bold yellow")


def _pace(look: Look) -> Iterator[str]:
    """How fast it goes and how long it will take, as far as there is evidence."""
    estimate = look.estimate
    if estimate.rate is not None:
        if estimate.rate_unit == "blocks":
            yield f"{byte_size(round(estimate.rate * _BLOCK_BYTES))}/s"
        else:
            yield f"{_count(estimate.rate)} rows/s"
    if estimate.remaining_seconds is not None:
        yield f"about {_roughly(estimate.remaining_seconds)} left"


def _brief_waits(look: Look) -> Iterator[str]:
    if look.blockers:
        who = "; ".join(_brief(one) for one in look.blockers)
        yield f"{shown_duration(look.stalled_seconds)} already for {who}"
    if look.victims:
        yield _brief_victims(look)


def _brief(session: OtherSession) -> str:
    """Who it is, the most telling first, because the end may be cut."""
    parts = [session.name]
    if session.application_name or session.usename:
        parts.append(shown_on_one_line(session.application_name or session.usename or ""))
    if session.transaction_age_seconds is not None:
        parts.append(f"open for {shown_duration(session.transaction_age_seconds)}")
    if session.state and session.state != "active":
        parts.append(session.state)
    if session.shown_query:
        parts.append(session.shown_query)
    return ", ".join(parts)


def _brief_victims(look: Look) -> str:
    count = len(look.victims)
    first = max(look.victims, key=lambda one: (one.stops_readers, one.waiting_seconds or 0.0))
    who = f"{first.name} waits behind it" if count == 1 else f"{count} sessions wait behind it"
    told = f"{who}, {shown_duration(max(one.waiting_seconds or 0.0 for one in look.victims))}"
    return told + (": readers queue too" if first.stops_readers else "")


def _lockers_after(look: Look) -> int:
    """How many more it has to wait for in turn after those that are named."""
    total, done = look.build.lockers_total or 0, look.build.lockers_done or 0
    return max(0, total - done - 1) if look.blockers else 0


def _short_phase(look: Look) -> str:
    """The phase in words that fit beside a bar on 80 columns."""
    phase = look.phase or ""
    siblings = [one.application_name or "" for one in look.build.blockers if one.is_own_build]
    if siblings and not look.blockers:
        # It ends by itself, and its own bar tells when.
        return "waits for " + shown_on_one_line(siblings[0].split("/", 2)[-1])
    return _SHORT_PHASES.get(phase, phase)


def _percent(share: float) -> str:
    """The share of the work; nothing is all done before it ends."""
    return f"{min(share, 0.99):4.0%}"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def _count(number: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"


def _roughly(seconds: float) -> str:
    """A guess told no more exactly than it is known."""
    step = 5 if seconds < 60 else 60 if seconds < 3600 else 600
    return shown_duration(max(step, round(seconds / step) * step))


_SHORT_PHASES = {
    "initializing": "starting",
    "waiting for the table": "waits for table",
    "waiting for sessions that use the table": "waits for readers",
    "waiting for writers before build": "waits for writers",
    "building index": "building",
    "building index: initializing": "building",
    "building index: scanning table": "scanning table",
    "building index: sorting live tuples": "sorting",
    "building index: sorting dead tuples": "sorting",
    "building index: loading tuples in tree": "loading",
    "building index: sorting tuples (workers)": "sorting",
    "building index: merging tuples (workers)": "merging",
    "building index: merging tuples": "merging",
    "waiting for writers before validation": "waits for writers",
    "index validation: scanning index": "checking index",
    "index validation: sorting tuples": "checking, sorting",
    "index validation: scanning table": "checking table",
    "waiting for old snapshots": "waits, snapshots",
    "waiting for readers before marking dead": "waits for readers",
    "waiting for readers before dropping": "waits for readers",
}
_VERBS = {
    StepKind.BUILD: "build",
    StepKind.ADOPT: "follow",
    StepKind.DROP_INVALID: "clean",
    StepKind.DROP_LEFTOVER: "clean",
    StepKind.DROP: "drop",
    StepKind.ANALYZE: "analyze",
    StepKind.CREATE_PARENT: "create",
    StepKind.ATTACH: "attach",
    StepKind.DROP_PARENT: "drop",
}
