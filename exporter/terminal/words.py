"""The text for a running step: its name, phase, rate, blockers and waiters."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.migrate.events import WatchObservation
from exporter.model import Step, StepKind
from exporter.postgres.sessions.other_sessions import OtherSession, shown_duration, shown_on_one_line
from exporter.text.characters import printable
from exporter.text.figures import byte_size

_BLOCK_BYTES = 8192
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
    "waiting for old snapshots": "waits for snapshots",
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
VERB_WIDTH = max(map(len, _VERBS.values()))


def subject(step: Step) -> str:
    """Return the name of the step's index, or of its table, without characters that break a line."""
    return printable(step.index.name if step.index is not None else step.table.quoted)


def verb(step: Step) -> str:
    """Return the verb of the step, padded to a column."""
    return f"{_VERBS[step.kind]:<{VERB_WIDTH}}"


def short_phase(observation: WatchObservation) -> str:
    """Return the phase in words that fit beside a bar on 80 columns."""
    phase = observation.phase or ""
    siblings = [
        blocker.application_name or "" for blocker in observation.build.blockers if blocker.is_own_build
    ]
    if siblings and not observation.blockers:
        # Another build of this run: its own bar shows its progress.
        return "waits for " + shown_on_one_line(siblings[0].split("/", 2)[-1])
    return _SHORT_PHASES.get(phase, phase)


def percent(share: float) -> str:
    """Return the share of the work; 100% only once it has ended."""
    return f"{min(share, 0.99):4.0%}"


def rate_and_remaining(observation: WatchObservation) -> Iterator[str]:
    """Yield the rate and the remaining time, if they can be estimated."""
    estimate = observation.estimate
    if estimate.rate is not None:
        if estimate.rate_unit == "blocks":
            yield f"{byte_size(round(estimate.rate * _BLOCK_BYTES))}/s"
        else:
            yield f"{_count(estimate.rate)} rows/s"
    if estimate.remaining_seconds is not None:
        yield f"about {_roughly(estimate.remaining_seconds)} left"


def brief_waits(observation: WatchObservation) -> Iterator[str]:
    """Yield the sessions that the step waits for, and those that wait for it."""
    if observation.blockers:
        blockers = "; ".join(map(brief, observation.blockers))
        yield f"for {shown_duration(observation.stalled_seconds)}: {blockers}"
    if observation.waiters:
        yield brief_waiters(observation)


def brief(session: OtherSession) -> str:
    """Return the session in words, the most important first, because the end may be cut."""
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


def brief_waiters(observation: WatchObservation) -> str:
    """Return how many sessions wait for the step, how long, and whether they block readers."""
    count = len(observation.waiters)
    first = max(observation.waiters, key=lambda waiter: (waiter.stops_readers, waiter.waiting_seconds or 0.0))
    waiters = f"{first.name} waits for it" if count == 1 else f"{count} sessions wait for it"
    longest_seconds = max(waiter.waiting_seconds or 0.0 for waiter in observation.waiters)
    readers = ": readers are blocked too" if first.stops_readers else ""
    return f"{waiters}, {shown_duration(longest_seconds)}{readers}"


def remaining_lockers(observation: WatchObservation) -> int:
    """Return how many sessions the step will wait for after those that it waits for now."""
    total, done = observation.build.lockers_total or 0, observation.build.lockers_done or 0
    return max(0, total - done - 1) if observation.blockers else 0


def _count(number: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"


def _roughly(seconds: float) -> str:
    """Return an estimated duration, rounded to its precision."""
    step = 5 if seconds < 60 else 60 if seconds < 3600 else 600
    return shown_duration(max(step, round(seconds / step) * step))
