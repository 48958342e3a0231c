"""The success criteria of a migration, each answered pass, fail or unknown with the reason. Pure.

    exists                an index of that name, or an equal one under another name
    valid and ready       queries may use it, writes maintain it
    definition            as declared, in the server's canonical form
    size                  within max_size_ratio of the table, where declared
    not null              the columns that must not hold NULL do not
    statistics            the table was analyzed after the build
    plan uses the index   each probe, with every parameter set of its sample
    time                  each probe within its max_seconds, where declared
    time before and after each probe, against the baseline

What cannot be judged is told once: while the index is absent, INVALID or another one, only that is found,
and of a probe that could not be planned no time is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from exporter.migrate.figures import duration, faster_by, moment, size_ratio, speedup, taken
from exporter.model import (
    DeclaredIndex,
    Finding,
    IndexFacts,
    IndexState,
    ObservedIndex,
    Probe,
    ProbeMeasurement,
    Role,
    Verdict,
    quote_identifier,
)

# Below this the planner rightly reads the whole table, and one page more or less decides a ratio.
SMALL_TABLE_PAGES = 100
# A probe that became slower by less than one of these differs by noise.
SLOWER_FACTOR = 2.0
SLOWER_SECONDS = 0.005
FASTER_FACTOR = 1.5

_INIT = "run init"
_JUDGED = {IndexState.PRESENT, IndexState.COVERED}

Key = tuple[str, str]


def verify(
    facts: Sequence[IndexFacts],
    before: Sequence[ProbeMeasurement],
    after: Sequence[ProbeMeasurement],
    *,
    built_at: Mapping[str, datetime] | None = None,
) -> tuple[Finding, ...]:
    """The findings of every index in the order of `facts`, each index's criteria as listed above.

    `built_at` says when each index's build ended, by the server's clock; without it the freshness of the
    statistics is unknown.
    """
    baseline = {(found.index_name, found.probe): found for found in before}
    measured = {(found.index_name, found.probe): found for found in after}
    findings: list[Finding] = []
    for index in facts:
        findings += _presence(index.observed)
        if index.observed.state in _JUDGED:
            built = (built_at or {}).get(index.observed.declared.name)
            findings += _judge_index(index, built)
            findings += _judge_probes(index, baseline, measured)
    return tuple(findings)


# Whether it stands


def _presence(observed: ObservedIndex) -> Iterator[Finding]:
    name = _subject(observed.declared)
    match observed.state:
        case IndexState.PRESENT:
            yield _pass("exists", name, "present", observed.detail or "present as declared")
            yield _pass("definition", name, "as_declared", observed.found_definition or observed.definition)
        case IndexState.COVERED:
            twin = quote_identifier(observed.covered_by or "another index")
            yield _pass("exists", name, "covered", f"{twin} is the same index under another name")
            yield _pass("definition", name, "as_declared", observed.found_definition or observed.definition)
        case IndexState.ABSENT:
            yield _fail("exists", name, "absent", "no index bears the name", f"{_INIT} to build it")
        case IndexState.CONFLICT:
            yield from _conflict(observed, name)
        case IndexState.INCOMPLETE:
            yield _fail("valid and ready", name, "incomplete", observed.detail, f"{_INIT} to complete it")
        case IndexState.INVALID_OURS:
            yield _fail("valid and ready", name, "invalid", observed.detail, f"{_INIT} to rebuild it")
        case IndexState.INVALID_FOREIGN:
            yield _fail(
                "valid and ready",
                name,
                "invalid",
                observed.detail,
                f"{_INIT} --adopt-invalid to replace it, or drop it: "
                f"DROP INDEX CONCURRENTLY {observed.declared.relation.quoted}",
            )
        case IndexState.BUILDING_OURS | IndexState.BUILDING_FOREIGN:
            yield _unknown(
                "valid and ready", name, "being_built", observed.detail, "verify again when it is built"
            )


def _conflict(observed: ObservedIndex, name: str) -> Iterator[Finding]:
    mend = "give the declared index another name, or rename or drop what bears it now"
    if observed.found_definition is None:
        yield _fail("exists", name, "name_taken", observed.detail, mend)
    else:
        found = f"{observed.found_definition}, declared is {observed.definition}"
        yield _fail("definition", name, "definition_differs", found, mend)


# What the catalogue says of it


def _judge_index(facts: IndexFacts, built_at: datetime | None) -> Iterator[Finding]:
    yield _valid(facts)
    yield from _size(facts)
    yield from _not_null(facts)
    yield _statistics(facts, built_at)


def _valid(facts: IndexFacts) -> Finding:
    name, criterion = _subject(facts.observed.declared), "valid and ready"
    if facts.indisvalid is None or facts.indisready is None:
        return _unknown(criterion, name, "not_readable", "the catalogue shows no row of it", "verify again")
    if facts.indisvalid and facts.indisready:
        return _pass(criterion, name, "valid", "queries may use it and writes maintain it")
    flags = f"indisvalid is {facts.indisvalid}, indisready is {facts.indisready}".lower()
    return _fail(criterion, name, "invalid", flags, f"{_INIT} to rebuild it")


def _size(facts: IndexFacts) -> Iterator[Finding]:
    declared = facts.observed.declared
    name, limit = _subject(declared), declared.max_size_ratio
    if limit is None:
        return
    ratio = size_ratio(facts)
    if ratio is None:
        mend = "verify again when nothing locks index or table"
        yield _unknown("size", name, "not_readable", "the sizes could not be read", mend)
        return
    found = f"{ratio:.3f} of the table, at most {limit:.3f} is declared"
    if _is_small(facts):
        yield _unknown("size", name, "table_too_small", found, "verify again when the table has grown")
    elif ratio <= limit:
        yield _pass("size", name, "within_limit", found)
    else:
        mend = (
            "leave out columns or narrow the predicate, or raise max_size_ratio; an index that grew by "
            f"updates: REINDEX INDEX CONCURRENTLY {declared.relation.quoted}"
        )
        yield _fail("size", name, "too_large", found, mend)


def _not_null(facts: IndexFacts) -> Iterator[Finding]:
    declared = facts.observed.declared
    if not declared.not_null:
        return
    name, table = _subject(declared), declared.table.quoted
    if facts.nullable:
        columns = _columns(facts.nullable)
        mend = f"fill or delete those rows of {table}, then SET NOT NULL; or take the column from not_null"
        yield _fail("not null", name, "null_found", f"NULL in {columns}", mend)
    elif facts.unproven:
        mend = f"ALTER TABLE {table} … SET NOT NULL proves it; or grant SELECT, or verify at a quiet hour"
        found = f"not decided in time, or not permitted, for {_columns(facts.unproven)}"
        yield _unknown("not null", name, "not_proven", found, mend)
    else:
        yield _pass("not null", name, "no_null", f"no NULL in {_columns(declared.not_null)}")


def _statistics(facts: IndexFacts, built_at: datetime | None) -> Finding:
    declared = facts.observed.declared
    name, criterion = _subject(declared), "statistics"
    mend = f"ANALYZE {declared.table.quoted}"
    analyzed_at = facts.table_last_analyze
    if analyzed_at is None:
        found = "when the table was last analyzed is not known; the counters may have been reset"
        return _unknown(criterion, name, "analyze_unknown", found, mend)
    if built_at is None:
        found = f"analyzed at {moment(analyzed_at)}; when the index was built is not known"
        return _unknown(criterion, name, "build_unknown", found, f"{mend}, if it was built after that")
    if analyzed_at < built_at:
        found = f"analyzed at {moment(analyzed_at)}, built at {moment(built_at)}"
        return _fail(criterion, name, "stale", found, mend)
    return _pass(criterion, name, "fresh", f"analyzed at {moment(analyzed_at)}, after the build")


# What its probes say


def _judge_probes(
    facts: IndexFacts,
    baseline: Mapping[Key, ProbeMeasurement],
    measured: Mapping[Key, ProbeMeasurement],
) -> Iterator[Finding]:
    declared = facts.observed.declared
    if not declared.probes and declared.role is Role.READ:
        mend = "declare a probe: the query that the index is for, with a sample"
        yield _unknown("plan uses the index", _subject(declared), "no_probe", "no query is declared", mend)
    for probe in declared.probes:
        key = (declared.name, probe.name)
        subject = _probe_subject(declared, probe)
        after = measured.get(key)
        if after is None:
            yield _unknown("plan uses the index", subject, "not_measured", "not measured", "verify again")
            continue
        yield _plan(facts, subject, after)
        if after.samples_using_index is None:
            continue
        yield from _time(probe, subject, after)
        yield _change(probe, subject, baseline.get(key), after)


_UNPLANNED_MENDS = {
    "no_sample": "correct the sample so that it returns rows, or verify when the table has such rows",
    "not_permitted": "grant SELECT on the tables of the probe to this role",
    "timed_out": "verify at a quiet hour, or shorten the sample",
    "failed": "correct the probe in the manifest",
}


def _plan(facts: IndexFacts, subject: str, after: ProbeMeasurement) -> Finding:
    criterion = "plan uses the index"
    if after.samples_using_index is None:
        reason = after.reason or "not_measured"
        mend = _UNPLANNED_MENDS.get(reason, "verify again")
        return _unknown(criterion, subject, reason, after.detail or "no plan was made", mend)
    found = f"{after.samples_using_index} of {after.samples} plans use it"
    if after.samples and after.samples_using_index == after.samples:
        return _pass(criterion, subject, "used", f"{found}: {after.node}" if after.node else found)
    found += f"; the first: {after.node or 'no scan of the table'}"
    if _is_small(facts):
        mend = "verify again when the table has grown: reading all of a small table is cheaper"
        return _unknown(criterion, subject, "table_too_small", found, mend)
    mend = (
        "compare the probe's WHERE and ORDER BY with the declared columns and predicate; see its EXPLAIN; "
        "a setting such as enable_indexscan or random_page_cost can work against indexes"
    )
    reason = "used_by_some" if after.samples_using_index else "not_used"
    return _fail(criterion, subject, reason, found, mend)


def _time(probe: Probe, subject: str, after: ProbeMeasurement) -> Iterator[Finding]:
    limit = probe.max_seconds
    if limit is None:
        return
    stopped = after.stopped_after_seconds
    if after.median_seconds is None and (stopped is None or stopped <= limit):
        yield _untimed("time", subject, after)
        return
    found = f"{taken(after)}, at most {duration(limit)} is declared"
    if after.median_seconds is not None and after.median_seconds <= limit:
        yield _pass("time", subject, "within_limit", found)
    else:
        mend = "look at the probe with EXPLAIN (ANALYZE, BUFFERS); verify again when the server is not busy"
        yield _fail("time", subject, "too_slow", found, mend)


def _change(probe: Probe, subject: str, before: ProbeMeasurement | None, after: ProbeMeasurement) -> Finding:
    """A run that was stopped gives a lower bound: it proves a slow time only, never a fast one."""
    criterion = "time before and after"
    after_took = taken(after)
    if after_took is None:
        return _untimed(criterion, subject, after)
    before_took = None if before is None else taken(before)
    if before is None or before_took is None:
        found = f"no figure from before, now {after_took}"
        mend = "none is possible now: the baseline is taken before the first build"
        return _unknown(criterion, subject, "no_baseline", found, mend)
    found = f"{before_took} before, now {after_took}"
    times = speedup(before, after)
    if times is not None and times >= FASTER_FACTOR:
        return _pass(criterion, subject, "faster", f"{found}: {faster_by(before, after)} faster")
    if before.median_seconds is None:
        mend = "none is needed while the time is within its limit"
        return _unknown(criterion, subject, "no_baseline", found, mend)
    after_seconds = after.median_seconds or after.stopped_after_seconds or 0.0
    if _is_slower(before.median_seconds, after_seconds):
        if probe.max_seconds is not None and after_seconds <= probe.max_seconds:
            return _pass(criterion, subject, "slower_within_limit", f"{found}: slower, but within its limit")
        mend = "verify again when the server is not busy; if it stays slower, look at the probe's EXPLAIN"
        return _fail(criterion, subject, "slower", found, mend)
    if after.median_seconds is None:
        return _untimed(criterion, subject, after)
    return _pass(criterion, subject, "not_slower", found)


def _is_slower(before_seconds: float, after_seconds: float) -> bool:
    return after_seconds > before_seconds * SLOWER_FACTOR and after_seconds - before_seconds > SLOWER_SECONDS


def _untimed(criterion: str, subject: str, after: ProbeMeasurement) -> Finding:
    mend = _UNPLANNED_MENDS.get(
        after.reason or "",
        "time it by hand: a probe that writes, or that fails when it runs, is only planned here",
    )
    return _unknown(criterion, subject, after.reason or "not_timed", after.detail or "not timed", mend)


def _is_small(facts: IndexFacts) -> bool:
    return facts.table_pages is not None and facts.table_pages < SMALL_TABLE_PAGES


def concerns(finding: Finding, declared: DeclaredIndex) -> bool:
    """True when the finding is about the declared index or one of its probes."""
    subjects = {_subject(declared), *(_probe_subject(declared, probe) for probe in declared.probes)}
    return finding.subject in subjects


def _probe_subject(declared: DeclaredIndex, probe: Probe) -> str:
    """What findings about a probe name."""
    return f"{_subject(declared)}, probe {probe.name}"


def _subject(declared: DeclaredIndex) -> str:
    return declared.relation.quoted


def _columns(names: Sequence[str]) -> str:
    return ", ".join(map(quote_identifier, names))


def _pass(criterion: str, subject: str, reason: str, found: str) -> Finding:
    return Finding(criterion, subject, Verdict.PASS, reason, found)


def _fail(criterion: str, subject: str, reason: str, found: str, mend: str) -> Finding:
    return Finding(criterion, subject, Verdict.FAIL, reason, found, mend)


def _unknown(criterion: str, subject: str, reason: str, found: str, mend: str) -> Finding:
    return Finding(criterion, subject, Verdict.UNKNOWN, reason, found, mend)
