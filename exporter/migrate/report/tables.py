"""Sizes and probes as tables of a report. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.model import IndexEstimate, IndexFacts, Outcome, ProbeMeasurement, quote_identifier
from exporter.text.content import NOT_KNOWN, Row, Section
from exporter.text.figures import byte_size, estimate_of, faster_by, size_ratio, taken


def sizes(outcome: Outcome) -> Section:
    """What each index takes, beside what was expected, its table and the limit."""
    known = [index for index in outcome.facts if index.size_bytes is not None]
    estimates = [estimate_of(outcome, index) for index in known]
    # Only the run that built it estimated it.
    has_estimates = any(estimate is not None for estimate in estimates)
    rows = tuple(
        _size(index, _estimated(estimate) if has_estimates else None)
        for index, estimate in zip(known, estimates, strict=True)
    )
    columns = ("index", *(("estimate",) if has_estimates else ()), "table", "ratio", "limit")
    return Section("Sizes", columns=columns, rows=rows)


def _size(facts: IndexFacts, estimate: str | None) -> Row:
    ratio, limit = size_ratio(facts), facts.observed.declared.max_size_ratio
    return Row(
        facts.observed.declared.relation.quoted,
        (
            _bytes(facts.size_bytes),
            *(() if estimate is None else (estimate,)),
            _bytes(facts.table_size_bytes),
            NOT_KNOWN if ratio is None else f"{ratio:.3f}",
            NOT_KNOWN if limit is None else f"{limit:.3f}",
        ),
    )


def _bytes(size_bytes: int | None) -> str:
    return NOT_KNOWN if size_bytes is None else byte_size(size_bytes)


def _estimated(estimate: IndexEstimate | None) -> str:
    if estimate is None:
        return NOT_KNOWN
    return ("~ " if estimate.is_rough else "") + byte_size(estimate.index_bytes)


def probes(outcome: Outcome) -> Section:
    """Each probe before and after, and how its plans read the table."""
    rows = tuple(
        _probe(before, after)
        for before, after in probe_pairs(outcome)
        if before is not None or after is not None
    )
    return Section("Probes", columns=("before", "after", "faster"), rows=rows)


def probe_pairs(
    outcome: Outcome,
) -> Iterator[tuple[ProbeMeasurement | None, ProbeMeasurement | None]]:
    """Each probe as measured before and after, in the order of the later measurement."""
    before = {(found.index_name, found.probe): found for found in outcome.before}
    after = {(found.index_name, found.probe): found for found in outcome.after}
    for key in dict.fromkeys([*after, *before]):
        yield before.get(key), after.get(key)


def _probe(before: ProbeMeasurement | None, after: ProbeMeasurement | None) -> Row:
    either = after or before
    if either is None:
        raise ValueError("a probe is measured before or after")
    figures = tuple(NOT_KNOWN if one is None else taken(one) or NOT_KNOWN for one in (before, after))
    note = "" if after is None else _plans(before, after)
    name = f"{quote_identifier(either.index_name)}, {either.probe}"
    return Row(name, (*figures, faster_by(before, after) or NOT_KNOWN), note)


def _plans(before: ProbeMeasurement | None, after: ProbeMeasurement) -> str:
    """How the plans read the table, before and after, and how many of them by the index."""
    nodes = [one.node for one in (before, after) if one is not None and one.node]
    told = " -> ".join(dict.fromkeys(nodes))
    plans = (
        "" if after.samples_using_index is None else f"{after.samples_using_index} of {after.samples} plans"
    )
    return ", ".join(part for part in (told, plans, after.reason, after.detail) if part)
