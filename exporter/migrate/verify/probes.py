"""Whether the probes of an index use it, how long they take, and how long they took before. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.migrate.verify.findings import failed, is_small, passed, probe_subject, subject_of, unknown
from exporter.model import Finding, IndexFacts, Probe, ProbeMeasurement, Role
from exporter.text.figures import duration, faster_by, speedup, taken

# A probe that is slower by less than either is not judged slower: noise.
SLOWER_FACTOR = 2.0
SLOWER_SECONDS = 0.005
FASTER_FACTOR = 1.5

Key = tuple[str, str]


def judge_probes(
    facts: IndexFacts,
    baseline: Mapping[Key, ProbeMeasurement],
    measured: Mapping[Key, ProbeMeasurement],
) -> Iterator[Finding]:
    """Each probe of one index: its plan, its time, and its time before, by index name and probe."""
    declared = facts.observed.declared
    if not declared.probes and declared.role is Role.READ:
        hint = "declare a probe: the query that the index is for, with a sample"
        yield unknown("plan uses the index", subject_of(declared), "no_probe", "no query is declared", hint)
    for probe in declared.probes:
        key = (declared.name, probe.name)
        subject = probe_subject(declared, probe)
        after = measured.get(key)
        if after is None:
            yield unknown("plan uses the index", subject, "not_measured", "not measured", "rerun verify")
            continue
        yield _plan(facts, subject, after)
        if after.samples_using_index is None:
            continue
        yield from _time(probe, subject, after)
        yield _change(probe, subject, baseline.get(key), after)


_UNPLANNED_HINTS = {
    "no_sample": "correct the sample so that it returns rows, or rerun verify when the table has such rows",
    "not_permitted": "grant SELECT on the tables of the probe to this role",
    "timed_out": "rerun verify at a quiet hour, or shorten the sample",
    "failed": "correct the probe in the manifest",
}


def _plan(facts: IndexFacts, subject: str, after: ProbeMeasurement) -> Finding:
    criterion = "plan uses the index"
    if after.samples_using_index is None:
        reason = after.reason or "not_measured"
        hint = _UNPLANNED_HINTS.get(reason, "rerun verify")
        return unknown(criterion, subject, reason, after.detail or "no plan was made", hint)
    found = f"{after.samples_using_index} of {after.samples} plans use it"
    if after.samples and after.samples_using_index == after.samples:
        return passed(criterion, subject, "used", f"{found}: {after.node}" if after.node else found)
    found += f"; the first: {after.node or 'no scan of the table'}"
    if is_small(facts):
        hint = "rerun verify when the table has grown: reading a small table whole is cheaper"
        return unknown(criterion, subject, "table_too_small", found, hint)
    hint = (
        "compare the probe's WHERE and ORDER BY with the declared columns and predicate; read its EXPLAIN; "
        "check settings such as enable_indexscan and random_page_cost"
    )
    reason = "used_by_some" if after.samples_using_index else "not_used"
    return failed(criterion, subject, reason, found, hint)


def _time(probe: Probe, subject: str, after: ProbeMeasurement) -> Iterator[Finding]:
    limit = probe.max_seconds
    if limit is None:
        return
    stopped = after.stopped_after_seconds
    if after.median_seconds is None and (stopped is None or stopped <= limit):
        yield _untimed("time", subject, after)
        return
    found = f"{taken(after)}, declared maximum {duration(limit)}"
    if after.median_seconds is not None and after.median_seconds <= limit:
        yield passed("time", subject, "within_limit", found)
    else:
        hint = "read the probe's EXPLAIN (ANALYZE, BUFFERS); rerun verify when the server is not busy"
        yield failed("time", subject, "too_slow", found, hint)


def _change(probe: Probe, subject: str, before: ProbeMeasurement | None, after: ProbeMeasurement) -> Finding:
    """The change of the time; a stopped run is a lower bound, which proves a slow time only."""
    criterion = "time before and after"
    after_took = taken(after)
    if after_took is None:
        return _untimed(criterion, subject, after)
    before_took = None if before is None else taken(before)
    if before is None or before_took is None:
        found = f"no baseline, now {after_took}"
        hint = "none is possible now: the baseline is measured before the first build"
        return unknown(criterion, subject, "no_baseline", found, hint)
    found = f"{before_took} before, now {after_took}"
    times = speedup(before, after)
    if times is not None and times >= FASTER_FACTOR:
        return passed(criterion, subject, "faster", f"{found}: {faster_by(before, after)} faster")
    if before.median_seconds is None:
        hint = "none is needed while the time is within its limit"
        return unknown(criterion, subject, "no_baseline", found, hint)
    after_seconds = after.median_seconds or after.stopped_after_seconds or 0.0
    if _is_slower(before.median_seconds, after_seconds):
        if probe.max_seconds is not None and after_seconds <= probe.max_seconds:
            return passed(criterion, subject, "slower_within_limit", f"{found}: slower, but within its limit")
        hint = "rerun verify when the server is not busy; if it is still slower, read the probe's EXPLAIN"
        return failed(criterion, subject, "slower", found, hint)
    if after.median_seconds is None:
        return _untimed(criterion, subject, after)
    return passed(criterion, subject, "not_slower", found)


def _is_slower(before_seconds: float, after_seconds: float) -> bool:
    return after_seconds > before_seconds * SLOWER_FACTOR and after_seconds - before_seconds > SLOWER_SECONDS


def _untimed(criterion: str, subject: str, after: ProbeMeasurement) -> Finding:
    hint = _UNPLANNED_HINTS.get(
        after.reason or "",
        "time it by hand: a probe that writes, or that fails when it runs, is only planned here",
    )
    return unknown(criterion, subject, after.reason or "not_timed", after.detail or "not timed", hint)
