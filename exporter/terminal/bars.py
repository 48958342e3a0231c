"""The running steps as rows of a terminal: a bar each, its rate, its blockers and its waiters.

Rows are cut to the width here, so that each takes one line of the terminal. If there are more rows than
lines, the rates are left out first, then the bars of steps that neither block nor are blocked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from exporter.migrate.events import WatchObservation
from exporter.model import Step
from exporter.postgres.sessions.other_sessions import shown_duration
from exporter.terminal.words import (
    VERB_WIDTH,
    brief,
    brief_waiters,
    percent,
    rate_and_remaining,
    remaining_lockers,
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
# Shorter waits are shown without their duration.
_SHOWN_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One running step. Units: seconds; share 0 to 1."""

    step: Step
    seconds: float
    share: float
    observation: WatchObservation | None

    @property
    def has_conflict(self) -> bool:
        """True if the step waits for another session, or another session waits for it."""
        return self.observation is not None and bool(self.observation.blockers or self.observation.waiters)


def rows_of(bars: Sequence[Bar], width: int, height: int) -> list[Text]:
    """Return the rows of all bars: at most `height`, each of at most `width` - 1 columns."""
    name_width = _name_width(bars, width)
    groups = [list(_rows(bar, name_width, shows_rate=True)) for bar in bars]
    if sum(map(len, groups)) > height:
        bars = sorted(bars, key=lambda bar: not bar.has_conflict)
        groups = [list(_rows(bar, name_width, shows_rate=False)) for bar in bars]
    rows: list[Text] = []
    for number, group in enumerate(groups):
        is_last = number == len(groups) - 1
        if len(rows) + len(group) > height - (not is_last):
            rows.append(Text(f"{_MARGIN}and {len(groups) - number} more running", "dim"))
            break
        rows += group
    for row in rows:
        row.truncate(width - 1, overflow="ellipsis")
    return rows


def _name_width(bars: Sequence[Bar], width: int) -> int:
    """Return the width of the name column: a narrow terminal keeps room for the phase."""
    room = max(_SHORTEST_NAME_WIDTH, width - (_USUAL_WIDTH - _USUAL_NAME_WIDTH))
    longest = max((columns_of(subject(bar.step)) for bar in bars), default=0)
    return min(room, max(_USUAL_NAME_WIDTH, longest))


def _rows(bar: Bar, name_width: int, *, shows_rate: bool) -> Iterator[Text]:
    observation = bar.observation
    row = Text(f"{verb(bar.step)} {pad(cut(subject(bar.step), name_width), name_width)} ")
    # A full bar would look finished.
    filled = int(bar.share * _BAR_WIDTH) if bar.share < 1 else _BAR_WIDTH - 1
    row.append("━" * filled, "green").append("╌" * (_BAR_WIDTH - filled), "dim")
    row.append(f" {_clock(bar.seconds):>7}")
    if observation is not None and observation.build.phase is not None:
        row.append(f" {percent(bar.share)}")
    if observation is not None:
        row.append(f" {short_phase(observation)}", "dim")
    yield row
    if observation is not None:
        yield from _details(observation, shows_rate=shows_rate)


def _details(observation: WatchObservation, *, shows_rate: bool) -> Iterator[Text]:
    rate = ", ".join(rate_and_remaining(observation))
    if rate and shows_rate:
        yield Text(f"{_MARGIN}{rate}", "dim")
    stalled_seconds = observation.stalled_seconds
    waited = f"{shown_duration(stalled_seconds)} " if stalled_seconds >= _SHOWN_WAIT_SECONDS else ""
    for blocker in observation.blockers:
        yield Text(f"{_MARGIN}waits {waited}for {brief(blocker)}", "yellow")
    count = remaining_lockers(observation)
    if count:
        yield Text(f"{_MARGIN}and then for {count} more", "yellow")
    if observation.waiters:
        yield Text(f"{_MARGIN}{brief_waiters(observation)}", "bold yellow")


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
