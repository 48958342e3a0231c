"""Which sessions each step was seen to wait for, and for how long. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from exporter.model import Step, Wait
from exporter.postgres.sessions.other_sessions import OtherSession

# On a busy server most blockers are gone at the next poll.
_MOST_WAITS = 20


@dataclass(slots=True)
class Waits:
    """Waits by step, phase and session; several sessions can block a step at the same time."""

    _seconds: dict[Step, dict[tuple[str, Hashable], tuple[float, OtherSession]]] = field(default_factory=dict)
    _seen: dict[Step, set[tuple[str, Hashable]]] = field(default_factory=dict)

    def add(
        self,
        step: Step,
        phase: str,
        blockers: Iterable[OtherSession],
        *,
        since_seconds: float,
        waiting_seconds: float | None,
    ) -> None:
        """Count the time since the last poll for blockers seen then too; for new ones what the server says.

        `waiting_seconds` is how long the step has waited for its present lock. Units: seconds.
        """
        known = self._seconds.setdefault(step, {})
        seen: set[tuple[str, Hashable]] = set()
        for blocker in blockers:
            key = (phase, blocker.gid if blocker.pid is None else blocker.pid)
            seen.add(key)
            before, _ = known.get(key, (0.0, blocker))
            was_seen = key in self._seen.get(step, set())
            known[key] = (before + (since_seconds if was_seen else waiting_seconds or 0.0), blocker)
        self._seen[step] = seen

    def of(self, step: Step) -> tuple[Wait, ...]:
        """Return the waits of one step, the longest first."""
        # A copy, as the watching thread adds to it at the same time.
        waits = [
            Wait(phase, seconds, blocker.pid, blocker.usename, blocker.application_name, blocker.shown_query)
            for (phase, _), (seconds, blocker) in dict(self._seconds.get(step, {})).items()
        ]
        return tuple(sorted(waits, key=lambda wait: -wait.seconds)[:_MOST_WAITS])
