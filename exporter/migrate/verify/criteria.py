"""Whether each declared index is present, valid and within its size; then partitions and probes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from exporter.migrate.verify.findings import failed, is_small, passed, subject_of, unknown
from exporter.migrate.verify.partitions import judge_partitions, lacking
from exporter.migrate.verify.probes import judge_probes
from exporter.model import Finding, IndexFacts, IndexState, ObservedIndex, ProbeMeasurement, quote_identifier
from exporter.text.figures import moment, size_ratio

_INIT = "run init"
_JUDGED = {IndexState.PRESENT, IndexState.COVERED}


def verify(
    facts: Sequence[IndexFacts],
    before: Sequence[ProbeMeasurement],
    after: Sequence[ProbeMeasurement],
    *,
    built_at: Mapping[str, datetime] | None = None,
) -> tuple[Finding, ...]:
    """The findings of every index in the order of `facts`, the criteria in the order of the package's list.

    `built_at` is when each index's build ended, by the server's clock; without it the freshness of the
    statistics is unknown.
    """
    baseline = {(one.index_name, one.probe): one for one in before}
    measured = {(one.index_name, one.probe): one for one in after}
    findings: list[Finding] = []
    for index in facts:
        findings += _presence(index.observed)
        findings += judge_partitions(index.observed)
        if index.observed.state in _JUDGED:
            built = (built_at or {}).get(index.observed.declared.name)
            findings += _judge_index(index, built)
            findings += judge_probes(index, baseline, measured)
    return tuple(findings)


# Presence


def _presence(observed: ObservedIndex) -> Iterator[Finding]:
    name = subject_of(observed.declared)
    match observed.state:
        case IndexState.PRESENT:
            yield passed("exists", name, "present", observed.detail or "present as declared")
            yield passed("definition", name, "as_declared", observed.found_definition or observed.definition)
        case IndexState.COVERED:
            twin = quote_identifier(observed.covered_by or "another index")
            yield passed("exists", name, "covered", f"{twin} is the same index under another name")
            yield passed("definition", name, "as_declared", observed.found_definition or observed.definition)
        case IndexState.ABSENT:
            yield failed("exists", name, "absent", "there is no index of that name", f"{_INIT} to build it")
        case IndexState.CONFLICT:
            yield from _conflict(observed, name)
        case IndexState.INCOMPLETE:
            yield failed("valid and ready", name, "incomplete", observed.detail, f"{_INIT} to complete it")
        case IndexState.INVALID_OURS:
            yield failed("valid and ready", name, "invalid", observed.detail, f"{_INIT} to rebuild it")
        case IndexState.INVALID_FOREIGN:
            yield failed(
                "valid and ready",
                name,
                "invalid",
                observed.detail,
                f"{_INIT} --adopt-invalid to replace it, or drop it: "
                f"DROP INDEX CONCURRENTLY {observed.declared.relation.quoted}",
            )
        case IndexState.BUILDING_OURS | IndexState.BUILDING_FOREIGN:
            yield unknown(
                "valid and ready", name, "being_built", observed.detail, "rerun verify when it is built"
            )


def _conflict(observed: ObservedIndex, name: str) -> Iterator[Finding]:
    if lacking(observed):
        # The conflict is that of a partition.
        yield failed("valid and ready", name, "partition_lacking", observed.detail, "see its partitions")
        return
    hint = "declare another name, or rename or drop the existing relation"
    if observed.found_definition is None:
        yield failed("exists", name, "name_taken", observed.detail, hint)
    else:
        found = f"{observed.found_definition}; declared: {observed.definition}"
        yield failed("definition", name, "definition_differs", found, hint)


# Catalogue facts


def _judge_index(facts: IndexFacts, built_at: datetime | None) -> Iterator[Finding]:
    yield _valid(facts)
    yield from _size(facts)
    yield from _not_null(facts)
    yield _statistics(facts, built_at)


def _valid(facts: IndexFacts) -> Finding:
    name, criterion = subject_of(facts.observed.declared), "valid and ready"
    if facts.indisvalid is None or facts.indisready is None:
        return unknown(criterion, name, "not_readable", "the catalogue has no row of it", "rerun verify")
    if facts.indisvalid and facts.indisready:
        return passed(criterion, name, "valid", "queries can use it and writes maintain it")
    flags = f"indisvalid is {facts.indisvalid}, indisready is {facts.indisready}".lower()
    return failed(criterion, name, "invalid", flags, f"{_INIT} to rebuild it")


def _size(facts: IndexFacts) -> Iterator[Finding]:
    declared = facts.observed.declared
    name, limit = subject_of(declared), declared.max_size_ratio
    if limit is None:
        return
    ratio = size_ratio(facts)
    if ratio is None:
        hint = "rerun verify when index and table are not locked"
        yield unknown("size", name, "not_readable", "the sizes could not be read", hint)
        return
    found = f"{ratio:.3f} of the table, declared maximum {limit:.3f}"
    if is_small(facts):
        yield unknown("size", name, "table_too_small", found, "rerun verify when the table has grown")
    elif ratio <= limit:
        yield passed("size", name, "within_limit", found)
    else:
        hint = (
            "remove columns, narrow the predicate, or raise max_size_ratio; if it is bloated by updates: "
            f"REINDEX INDEX CONCURRENTLY {declared.relation.quoted}"
        )
        yield failed("size", name, "too_large", found, hint)


def _not_null(facts: IndexFacts) -> Iterator[Finding]:
    declared = facts.observed.declared
    if not declared.not_null:
        return
    name, table = subject_of(declared), declared.table.quoted
    if facts.nullable:
        columns = _columns(facts.nullable)
        hint = f"fill or delete those rows of {table}, or remove the column from not_null"
        yield failed("not null", name, "null_found", f"NULL in {columns}", hint)
    elif facts.unproven:
        column = quote_identifier(facts.unproven[0])
        hint = f"rerun verify at a quiet hour, or prove it: ALTER TABLE {table} ALTER {column} SET NOT NULL"
        found = f"not decided in time, or SELECT not permitted, for {_columns(facts.unproven)}"
        yield unknown("not null", name, "not_proven", found, hint)
    else:
        yield passed("not null", name, "no_null", f"no NULL in {_columns(declared.not_null)}")


def _statistics(facts: IndexFacts, built_at: datetime | None) -> Finding:
    declared = facts.observed.declared
    name, criterion = subject_of(declared), "statistics"
    hint = f"ANALYZE {declared.table.quoted}"
    analyzed_at = facts.table_last_analyze
    if analyzed_at is None:
        found = "time of the last ANALYZE unknown; the counters may have been reset"
        return unknown(criterion, name, "analyze_unknown", found, hint)
    if built_at is None:
        found = f"analyzed at {moment(analyzed_at)}; time of the build unknown"
        return unknown(criterion, name, "build_unknown", found, f"if it was built later: {hint}")
    if analyzed_at < built_at:
        found = f"analyzed at {moment(analyzed_at)}, built at {moment(built_at)}"
        return failed(criterion, name, "stale", found, hint)
    return passed(criterion, name, "fresh", f"analyzed at {moment(analyzed_at)}, after the build")


def _columns(names: Sequence[str]) -> str:
    return ", ".join(map(quote_identifier, names))
