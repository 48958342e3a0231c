"""The tables of a report: index sizes and probe times. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.model import IndexEstimate, IndexFacts, Outcome, ProbeMeasurement, quote_identifier
from exporter.text.content import NOT_KNOWN, Item, Row, Section
from exporter.text.figures import byte_size, estimate_of, faster_by, size_ratio, taken


def sizes(outcome: Outcome) -> Section:
    """Return the size of each index beside its estimate, its table and its limit."""
    known = [index for index in outcome.facts if index.size_bytes is not None]
    estimates = [estimate_of(outcome, index) for index in known]
    # Only the run that built an index has an estimate of it.
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
    """Return each probe before and after, and how its plans read the table."""
    rows = tuple(
        _probe(before, after)
        for before, after in probe_pairs(outcome)
        if before is not None or after is not None
    )
    return Section("Probes", columns=("before", "after", "faster"), rows=rows)


def plans(outcome: Outcome) -> Section:
    """Return the plan of each probe before and after."""
    items = (
        Item(when, f"{quote_identifier(measured.index_name)}, {measured.probe}", code=measured.plan)
        for pair in probe_pairs(outcome)
        for when, measured in zip(("before", "after"), pair, strict=True)
        if measured is not None and measured.plan is not None
    )
    return Section("Plans", tuple(items))


def probe_pairs(
    outcome: Outcome,
) -> Iterator[tuple[ProbeMeasurement | None, ProbeMeasurement | None]]:
    """Yield each probe as measured before and after, in the order of the later measurement."""
    before = {(measured.index_name, measured.probe): measured for measured in outcome.before}
    after = {(measured.index_name, measured.probe): measured for measured in outcome.after}
    for key in dict.fromkeys([*after, *before]):
        yield before.get(key), after.get(key)


def _probe(before: ProbeMeasurement | None, after: ProbeMeasurement | None) -> Row:
    either = after or before
    if either is None:
        raise ValueError("a probe is measured before or after")
    figures = tuple(
        NOT_KNOWN if measured is None else taken(measured) or NOT_KNOWN for measured in (before, after)
    )
    note = "" if after is None else _plans(before, after)
    name = f"{quote_identifier(either.index_name)}, {either.probe}"
    return Row(name, (*figures, faster_by(before, after) or NOT_KNOWN), note)


def _plans(before: ProbeMeasurement | None, after: ProbeMeasurement) -> str:
    """Return how the plans read the table before and after, and how many use the index."""
    nodes = [measured.node for measured in (before, after) if measured is not None and measured.node]
    scans = " -> ".join(dict.fromkeys(nodes))
    plans = (
        "" if after.samples_using_index is None else f"{after.samples_using_index} of {after.samples} plans"
    )
    missing = after.detail or (after.reason or "").replace("_", " ")
    return ", ".join(part for part in (scans, plans, missing) if part)
