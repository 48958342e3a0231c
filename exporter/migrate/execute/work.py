"""The nouns of running steps: how long they may take, and what the server's processes do for them."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.model import Step


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Why a build was cancelled by those who watch it; it may be tried again where it made way for others."""

    reason: str
    try_again: bool


@dataclass(frozen=True, slots=True)
class Followed:
    """A process of a run of ours that a step follows.

    `in_our_care`: its own run is dead, or ours. `may_end`: it may be cancelled, which no drop may.
    """

    pid: int
    is_drop: bool
    in_our_care: bool
    may_end: bool


@dataclass(frozen=True, slots=True)
class Work:
    """What one process of the server does for a step.

    `may_act`: our policies hold for it; `may_end`: they may cancel it as well. `is_cleaning`: it drops what
    an attempt left, within the cleanup budget.
    """

    step: Step
    is_drop: bool
    may_act: bool = True
    may_end: bool = True
    is_cleaning: bool = False
