"""Whom each step was seen to wait for, and for how long. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from exporter.model import Step, Wait
from exporter.postgres.sessions.other_sessions import OtherSession

# Most of what a step meets on a busy server is gone before the next look.
_MOST_WAITS = 20


@dataclass(slots=True)
class Waits:
    """Waits by step, phase and session; several sessions can be waited for at the same time."""

    _seconds: dict[Step, dict[tuple[str, Hashable], tuple[float, OtherSession]]] = field(default_factory=dict)
    _seen: dict[Step, set[tuple[str, Hashable]]] = field(default_factory=dict)

    def look(
        self,
        step: Step,
        phase: str,
        blockers: Iterable[OtherSession],
        *,
        since_seconds: float,
        waiting_seconds: float | None,
    ) -> None:
        """Counts the time since the last look for whom that saw too; for others what the server says.

        Units: seconds; `waiting_seconds` is how long the lock is waited for that is waited for now.
        """
        known = self._seconds.setdefault(step, {})
        seen: set[tuple[str, Hashable]] = set()
        for one in blockers:
            key = (phase, one.gid if one.pid is None else one.pid)
            seen.add(key)
            before, _ = known.get(key, (0.0, one))
            was_seen = key in self._seen.get(step, set())
            known[key] = (before + (since_seconds if was_seen else waiting_seconds or 0.0), one)
        self._seen[step] = seen

    def of(self, step: Step) -> tuple[Wait, ...]:
        """The waits of one step, the longest first."""
        # Written by the watching thread: a copy of one moment.
        waits = [
            Wait(phase, seconds, one.pid, one.usename, one.application_name, one.shown_query)
            for (phase, _), (seconds, one) in dict(self._seconds.get(step, {})).items()
        ]
        return tuple(sorted(waits, key=lambda wait: -wait.seconds)[:_MOST_WAITS])
