"""How far a build is, how fast it goes and how long it will take, from looks at it over time. Pure.

The share never goes back. The rate and the estimate are absent until there is evidence, and while a build
waits for others, which end when they want.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from exporter.migrate.events import Estimate
from exporter.postgres.builds import phases
from exporter.postgres.builds.progress import BuildProgress

_WINDOW_SECONDS = 30.0
_RATE_EVIDENCE_SECONDS = 1.0
_EVIDENCE_SECONDS = 3.0
_EVIDENCE_SHARE = 0.02
# Less than that of the phases before says nothing about a phase that is not counted.
_WEIGHT_EVIDENCE = 0.1


@dataclass(slots=True)
class Estimator:
    """Learns from every look at one build. Looks come in the order of `now_seconds`, of any clock."""

    _share: float = 0.0
    _phase: str | None = None
    _seen_at: float | None = None
    # Working time, in phases before this one and in this one.
    _worked_seconds: float = 0.0
    _phase_seconds: float = 0.0
    # The share where watching began: of a build that is followed, its earlier phases took unknown time.
    _first_share: float | None = None
    # Moment, share of the phase, count of its unit.
    _window: deque[tuple[float, float, int]] = field(default_factory=deque)

    def look(self, now_seconds: float, build: BuildProgress) -> Estimate:
        """What is known after this look."""
        since = 0.0 if self._seen_at is None else max(0.0, now_seconds - self._seen_at)
        self._seen_at = now_seconds
        is_stalled = build.waiting_seconds is not None or phases.is_wait(build.phase or "")
        if build.phase != self._phase:
            self._phase = build.phase
            self._worked_seconds += self._phase_seconds
            self._phase_seconds = 0.0
            self._window.clear()
        elif not is_stalled:
            self._phase_seconds += since
        share = build.share
        if share is not None:
            if self._first_share is None:
                self._first_share = share
            self._share = max(self._share, share)
        if is_stalled:
            self._window.clear()
            return Estimate(self._share)
        rate, unit = self._rate(now_seconds, build)
        return Estimate(self._share, rate, unit, self._remaining_seconds(build))

    def _rate(self, now_seconds: float, build: BuildProgress) -> tuple[float | None, str | None]:
        share = build.phase_share
        if share is None:
            return None, None
        is_blocks = phases.counts_blocks(build.phase or "")
        done = (build.blocks_done if is_blocks else build.tuples_done) or 0
        self._window.append((now_seconds, share, done))
        while now_seconds - self._window[0][0] > _WINDOW_SECONDS:
            self._window.popleft()
        since = now_seconds - self._window[0][0]
        moved = done - self._window[0][2]
        if since < _RATE_EVIDENCE_SECONDS or moved <= 0:
            return None, None
        return moved / since, "blocks" if is_blocks else "tuples"

    def _remaining_seconds(self, build: BuildProgress) -> float | None:
        if build.span is None or self._first_share is None:
            return None
        start, end = build.span
        of_phase = self._remaining_of_phase(build, start, end)
        covered = end - min(self._first_share, end)
        if of_phase is None or covered < _EVIDENCE_SHARE:
            return None
        whole = self._worked_seconds + self._phase_seconds + of_phase
        # The weights are no whole numbers: their sum can pass 1.
        return of_phase + max(0.0, 1.0 - end) * whole / covered

    def _remaining_of_phase(self, build: BuildProgress, start: float, end: float) -> float | None:
        share = build.phase_share
        if share is not None:
            since = self._window[-1][0] - self._window[0][0]
            moved = share - self._window[0][1]
            if share >= 1.0:
                # Without sub-phases the counted part of the work is not all of it.
                return None if build.phase == "building index" else 0.0
            if since < _EVIDENCE_SECONDS or moved < _EVIDENCE_SHARE / 2:
                return None
            return (1.0 - share) * since / moved
        before = start - (self._first_share or 0.0)
        if before < _WEIGHT_EVIDENCE or self._worked_seconds < _EVIDENCE_SECONDS:
            return None
        usual = (end - start) * self._worked_seconds / before
        return max(0.0, usual - self._phase_seconds)
