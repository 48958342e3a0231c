"""The share, the rate and the remaining time of a build, estimated from its progress over time. Pure.

The share never decreases. The rate and the remaining time are absent until there is enough progress, and
while a build waits for other sessions, whose end is unknown.
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
# The least share of earlier phases from which the time of a phase without counters is estimated.
_WEIGHT_EVIDENCE = 0.1


@dataclass(slots=True)
class Estimator:
    """Collects the progress of one build, added in the order of `now_seconds`, by any monotonic clock."""

    _share: float = 0.0
    _phase: str | None = None
    _last_seconds: float | None = None
    # Working time, in phases before this one and in this one.
    _worked_seconds: float = 0.0
    _phase_seconds: float = 0.0
    # The share at the first observation: how long the phases before it took is unknown.
    _first_share: float | None = None
    # Time, share of the phase, count of its unit.
    _window: deque[tuple[float, float, int]] = field(default_factory=deque)

    def add(self, now_seconds: float, build: BuildProgress) -> Estimate:
        """Return the estimate after this progress."""
        last_seconds = now_seconds if self._last_seconds is None else self._last_seconds
        since_seconds = max(0.0, now_seconds - last_seconds)
        self._last_seconds = now_seconds
        is_stalled = build.waiting_seconds is not None or phases.is_wait(build.phase or "")
        if build.phase != self._phase:
            self._phase = build.phase
            self._worked_seconds += self._phase_seconds
            self._phase_seconds = 0.0
            self._window.clear()
        elif not is_stalled:
            self._phase_seconds += since_seconds
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
        window_seconds = now_seconds - self._window[0][0]
        moved = done - self._window[0][2]
        if window_seconds < _RATE_EVIDENCE_SECONDS or moved <= 0:
            return None, None
        return moved / window_seconds, "blocks" if is_blocks else "tuples"

    def _remaining_seconds(self, build: BuildProgress) -> float | None:
        if build.span is None or self._first_share is None:
            return None
        start, end = build.span
        of_phase = self._remaining_of_phase(build, start, end)
        covered = end - min(self._first_share, end)
        if of_phase is None or covered < _EVIDENCE_SHARE:
            return None
        whole = self._worked_seconds + self._phase_seconds + of_phase
        # The sum of the weights can exceed 1 by rounding.
        return of_phase + max(0.0, 1.0 - end) * whole / covered

    def _remaining_of_phase(self, build: BuildProgress, start: float, end: float) -> float | None:
        share = build.phase_share
        if share is not None:
            window_seconds = self._window[-1][0] - self._window[0][0]
            moved = share - self._window[0][1]
            if share >= 1.0:
                # In a phase without sub-phases, the counters cover only a part of the work.
                return None if build.phase == "building index" else 0.0
            if window_seconds < _EVIDENCE_SECONDS or moved < _EVIDENCE_SHARE / 2:
                return None
            return (1.0 - share) * window_seconds / moved
        before = start - (self._first_share or 0.0)
        if before < _WEIGHT_EVIDENCE or self._worked_seconds < _EVIDENCE_SECONDS:
            return None
        usual = (end - start) * self._worked_seconds / before
        return max(0.0, usual - self._phase_seconds)
