"""The words for a step under way: which, in which phase, how fast, and who is in the way."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.migrate.execute.watch.watcher import Look
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
    """What a step works on, on one line whatever the name holds."""
    return printable(step.index.name if step.index is not None else step.table.quoted)


def verb(step: Step) -> str:
    """What it does to that, in a column."""
    return f"{_VERBS[step.kind]:<{VERB_WIDTH}}"


def short_phase(look: Look) -> str:
    """The phase in words that fit beside a bar on 80 columns."""
    phase = look.phase or ""
    siblings = [one.application_name or "" for one in look.build.blockers if one.is_own_build]
    if siblings and not look.blockers:
        # It ends by itself, and its own bar tells when.
        return "waits for " + shown_on_one_line(siblings[0].split("/", 2)[-1])
    return _SHORT_PHASES.get(phase, phase)


def percent(share: float) -> str:
    """The share of the work; nothing is all done before it ends."""
    return f"{min(share, 0.99):4.0%}"


def pace(look: Look) -> Iterator[str]:
    """How fast it goes and how long it will take, as far as there is evidence."""
    estimate = look.estimate
    if estimate.rate is not None:
        if estimate.rate_unit == "blocks":
            yield f"{byte_size(round(estimate.rate * _BLOCK_BYTES))}/s"
        else:
            yield f"{_count(estimate.rate)} rows/s"
    if estimate.remaining_seconds is not None:
        yield f"about {_roughly(estimate.remaining_seconds)} left"


def brief_waits(look: Look) -> Iterator[str]:
    """For whom it waits and who waits behind it, in a few words."""
    if look.blockers:
        who = "; ".join(brief(one) for one in look.blockers)
        yield f"{shown_duration(look.stalled_seconds)} already for {who}"
    if look.waiters:
        yield brief_waiters(look)


def brief(session: OtherSession) -> str:
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


def brief_waiters(look: Look) -> str:
    """Who waits behind it, and whether readers do."""
    count = len(look.waiters)
    first = max(look.waiters, key=lambda one: (one.stops_readers, one.waiting_seconds or 0.0))
    who = f"{first.name} waits behind it" if count == 1 else f"{count} sessions wait behind it"
    told = f"{who}, {shown_duration(max(one.waiting_seconds or 0.0 for one in look.waiters))}"
    return told + (": readers queue too" if first.stops_readers else "")


def lockers_after(look: Look) -> int:
    """How many more it has to wait for in turn after those that are named."""
    total, done = look.build.lockers_total or 0, look.build.lockers_done or 0
    return max(0, total - done - 1) if look.blockers else 0


def _count(number: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"


def _roughly(seconds: float) -> str:
    """A guess told no more exactly than it is known."""
    step = 5 if seconds < 60 else 60 if seconds < 3600 else 600
    return shown_duration(max(step, round(seconds / step) * step))
