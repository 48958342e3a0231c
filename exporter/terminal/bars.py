"""The steps under way as rows of a terminal: a bar each, its pace, and under it who is in the way.

Rows are cut here, so that a bar never takes more lines than it has rows, and left out where the terminal has
not enough of them: first the pace, then those bars that nothing holds up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from exporter.migrate.execute.watch.watcher import Look
from exporter.model import Step
from exporter.postgres.sessions.other_sessions import shown_duration
from exporter.terminal.words import (
    VERB_WIDTH,
    brief,
    brief_waiters,
    lockers_after,
    pace,
    percent,
    short_phase,
    subject,
    verb,
)
from exporter.text.characters import columns_of, cut, pad

_USUAL_WIDTH = 80
_USUAL_NAME_WIDTH = 27
_SHORTEST_NAME_WIDTH = 12
_BAR_WIDTH = 10
_MARGIN = " " * (VERB_WIDTH + 1)
# A wait of a moment has no length worth telling.
_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One step under way. Units: seconds; share 0 to 1."""

    step: Step
    seconds: float
    share: float
    look: Look | None

    @property
    def is_held_up(self) -> bool:
        """True when somebody is in its way, or it in theirs."""
        return self.look is not None and bool(self.look.blockers or self.look.waiters)


def rows_of(bars: Sequence[Bar], width: int, height: int) -> list[Text]:
    """The rows of all bars, at most `height` of at most `width` - 1 columns."""
    name_width = _name_width(bars, width)
    groups = [list(_rows(bar, name_width, has_pace=True)) for bar in bars]
    if sum(map(len, groups)) > height:
        bars = sorted(bars, key=lambda bar: not bar.is_held_up)
        groups = [list(_rows(bar, name_width, has_pace=False)) for bar in bars]
    rows: list[Text] = []
    for number, group in enumerate(groups):
        is_last = number == len(groups) - 1
        if len(rows) + len(group) > height - (not is_last):
            rows.append(Text(f"{_MARGIN}and {len(groups) - number} more at work", "dim"))
            break
        rows += group
    for row in rows:
        row.truncate(width - 1, overflow="ellipsis")
    return rows


def _name_width(bars: Sequence[Bar], width: int) -> int:
    """What is left for names: on a narrow terminal the phase needs room too, on a wide one names get it."""
    room = max(_SHORTEST_NAME_WIDTH, width - (_USUAL_WIDTH - _USUAL_NAME_WIDTH))
    longest = max((columns_of(subject(bar.step)) for bar in bars), default=0)
    return min(room, max(_USUAL_NAME_WIDTH, longest))


def _rows(bar: Bar, name_width: int, *, has_pace: bool) -> Iterator[Text]:
    look = bar.look
    row = Text(f"{verb(bar.step)} {pad(cut(subject(bar.step), name_width), name_width)} ")
    # Full is for what is done.
    filled = int(bar.share * _BAR_WIDTH) if bar.share < 1 else _BAR_WIDTH - 1
    row.append("━" * filled, "green").append("╌" * (_BAR_WIDTH - filled), "dim")
    row.append(f" {_clock(bar.seconds):>7}")
    if look is not None and look.build.phase is not None:
        row.append(f" {percent(bar.share)}")
    if look is not None:
        row.append(f" {short_phase(look)}", "dim")
    yield row
    if look is not None:
        yield from _details(look, has_pace=has_pace)


def _details(look: Look, *, has_pace: bool) -> Iterator[Text]:
    told = ", ".join(pace(look))
    if told and has_pace:
        yield Text(f"{_MARGIN}{told}", "dim")
    for one in look.blockers:
        lasts = f"{shown_duration(look.stalled_seconds)} " if look.stalled_seconds >= _WAIT_SECONDS else ""
        yield Text(f"{_MARGIN}waits {lasts}for {brief(one)}", "yellow")
    more = lockers_after(look)
    if more:
        yield Text(f"{_MARGIN}and then for {more} more", "yellow")
    if look.waiters:
        yield Text(f"{_MARGIN}{brief_waiters(look)}", "bold yellow")


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
