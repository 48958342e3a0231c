"""Every success criterion, answered pass, fail and unknown."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from exporter.migrate.verify import SMALL_TABLE_PAGES, verify
from exporter.model import (
    Finding,
    IndexFacts,
    IndexState,
    ProbeMeasurement,
    Role,
    Verdict,
)
from tests.unit.migrate.samples import (
    ANALYZED_AT,
    BUILT_AT,
    HISTORY,
    MESSAGES,
    facts_of,
    measured_after,
    measured_before,
    observed,
)

FACTS = facts_of(observed(MESSAGES))
BEFORE = measured_before(MESSAGES)
AFTER = measured_after(MESSAGES)
UNPLANNED = replace(AFTER, samples=0, samples_using_index=None, median_seconds=None, runs=0, node=None)
STOPPED = replace(AFTER, median_seconds=None, runs=0, reason="timed_out", stopped_after_seconds=15.0)
UNLIMITED = replace(FACTS, observed=observed(replace(MESSAGES, probes=(replace(HISTORY, max_seconds=None),))))


def findings_of(
    facts: IndexFacts = FACTS,
    before: Sequence[ProbeMeasurement] = (BEFORE,),
    after: Sequence[ProbeMeasurement] = (AFTER,),
) -> dict[str, Finding]:
    """The findings of one index by criterion; each is answered once."""
    findings = verify([facts], before, after, built_at={MESSAGES.name: BUILT_AT})
    by_criterion = {finding.criterion: finding for finding in findings}
    assert len(by_criterion) == len(findings)
    return by_criterion


def told(finding: Finding) -> tuple[Verdict, str]:
    return finding.verdict, finding.reason


def test_an_index_that_holds_its_promises_passes_every_criterion() -> None:
    findings = findings_of()

    assert {criterion: told(finding) for criterion, finding in findings.items()} == {
        "exists": (Verdict.PASS, "present"),
        "definition": (Verdict.PASS, "as_declared"),
        "valid and ready": (Verdict.PASS, "valid"),
        "size": (Verdict.PASS, "within_limit"),
        "not null": (Verdict.PASS, "no_null"),
        "statistics": (Verdict.PASS, "fresh"),
        "plan uses the index": (Verdict.PASS, "used"),
        "time": (Verdict.PASS, "within_limit"),
        "time before and after": (Verdict.PASS, "faster"),
    }
    assert "200x" in findings["time before and after"].found


@pytest.mark.parametrize(
    ("state", "criterion", "verdict", "reason"),
    [
        (IndexState.ABSENT, "exists", Verdict.FAIL, "absent"),
        (IndexState.CONFLICT, "exists", Verdict.FAIL, "name_taken"),
        (IndexState.INVALID_OURS, "valid and ready", Verdict.FAIL, "invalid"),
        (IndexState.INVALID_FOREIGN, "valid and ready", Verdict.FAIL, "invalid"),
        (IndexState.BUILDING_OURS, "valid and ready", Verdict.UNKNOWN, "being_built"),
        (IndexState.BUILDING_FOREIGN, "valid and ready", Verdict.UNKNOWN, "being_built"),
    ],
)
def test_an_index_that_does_not_stand_is_told_once(
    state: IndexState, criterion: str, verdict: Verdict, reason: str
) -> None:
    findings = findings_of(facts_of(observed(MESSAGES, state, "as a test says")))

    assert list(findings) == [criterion]
    assert told(findings[criterion]) == (verdict, reason)


def test_another_definition_under_the_name_fails_with_both_definitions() -> None:
    conflict = replace(observed(MESSAGES, IndexState.CONFLICT), found_definition="CREATE INDEX … (id)")

    finding = findings_of(facts_of(conflict))["definition"]

    assert told(finding) == (Verdict.FAIL, "definition_differs")
    assert "CREATE INDEX … (id)" in finding.found
    assert conflict.definition in finding.found


def test_an_equal_index_under_another_name_passes_with_a_note() -> None:
    covered = replace(observed(MESSAGES, IndexState.COVERED), covered_by="Older Twin")

    findings = findings_of(facts_of(covered))

    assert told(findings["exists"]) == (Verdict.PASS, "covered")
    assert '"Older Twin"' in findings["exists"].found
    assert findings["plan uses the index"].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("change", "criterion", "verdict", "reason"),
    [
        ({"indisvalid": False}, "valid and ready", Verdict.FAIL, "invalid"),
        ({"indisready": False}, "valid and ready", Verdict.FAIL, "invalid"),
        ({"indisvalid": None}, "valid and ready", Verdict.UNKNOWN, "not_readable"),
        ({"size_bytes": 33 << 20}, "size", Verdict.FAIL, "too_large"),
        ({"size_bytes": 32 << 20}, "size", Verdict.PASS, "within_limit"),
        ({"size_bytes": None}, "size", Verdict.UNKNOWN, "not_readable"),
        ({"table_size_bytes": 0}, "size", Verdict.UNKNOWN, "not_readable"),
        ({"table_pages": SMALL_TABLE_PAGES - 1}, "size", Verdict.UNKNOWN, "table_too_small"),
        ({"table_pages": SMALL_TABLE_PAGES}, "size", Verdict.PASS, "within_limit"),
        ({"nullable": ("sender_id",)}, "not null", Verdict.FAIL, "null_found"),
        ({"unproven": ("sender_id",)}, "not null", Verdict.UNKNOWN, "not_proven"),
        ({"table_last_analyze": None}, "statistics", Verdict.UNKNOWN, "analyze_unknown"),
        ({"table_last_analyze": BUILT_AT - timedelta(seconds=1)}, "statistics", Verdict.FAIL, "stale"),
    ],
)
def test_what_the_catalogue_says_is_judged(
    change: dict[str, Any], criterion: str, verdict: Verdict, reason: str
) -> None:
    assert told(findings_of(replace(FACTS, **change))[criterion]) == (verdict, reason)


def test_without_the_end_of_the_build_the_statistics_are_unknown() -> None:
    findings = verify([FACTS], [BEFORE], [AFTER])

    (statistics,) = [finding for finding in findings if finding.criterion == "statistics"]
    assert told(statistics) == (Verdict.UNKNOWN, "build_unknown")
    assert str(ANALYZED_AT.year) in statistics.found


def test_what_is_not_declared_is_not_judged() -> None:
    declared = replace(MESSAGES, max_size_ratio=None, not_null=(), probes=(), role=Role.CONSTRAINT)

    findings = findings_of(replace(FACTS, observed=observed(declared)))

    assert list(findings) == ["exists", "definition", "valid and ready", "statistics"]


def test_an_index_for_reading_without_a_probe_is_unproven() -> None:
    findings = findings_of(replace(FACTS, observed=observed(replace(MESSAGES, probes=()))))

    assert told(findings["plan uses the index"]) == (Verdict.UNKNOWN, "no_probe")


@pytest.mark.parametrize(
    ("after", "pages", "verdict", "reason"),
    [
        (replace(AFTER, samples_using_index=0), 20_000, Verdict.FAIL, "not_used"),
        (replace(AFTER, samples_using_index=19), 20_000, Verdict.FAIL, "used_by_some"),
        (replace(AFTER, samples_using_index=0), 99, Verdict.UNKNOWN, "table_too_small"),
        (replace(AFTER, samples_using_index=0), None, Verdict.FAIL, "not_used"),
        (AFTER, 99, Verdict.PASS, "used"),
        (replace(UNPLANNED, reason="no_sample"), 20_000, Verdict.UNKNOWN, "no_sample"),
        (replace(UNPLANNED, reason="not_permitted"), 20_000, Verdict.UNKNOWN, "not_permitted"),
        (replace(UNPLANNED, reason="timed_out"), 20_000, Verdict.UNKNOWN, "timed_out"),
        (replace(UNPLANNED, reason="failed"), 20_000, Verdict.UNKNOWN, "failed"),
        (STOPPED, 20_000, Verdict.PASS, "used"),
    ],
)
def test_plans_are_judged(after: ProbeMeasurement, pages: int | None, verdict: Verdict, reason: str) -> None:
    finding = findings_of(replace(FACTS, table_pages=pages), after=[after])["plan uses the index"]

    assert told(finding) == (verdict, reason)


def test_of_a_probe_that_was_not_planned_no_time_is_judged() -> None:
    findings = findings_of(after=[replace(UNPLANNED, reason="no_sample")])

    assert [criterion for criterion in findings if "time" in criterion] == []


def test_a_plan_without_the_index_tells_how_many_and_which_node() -> None:
    after = replace(AFTER, samples_using_index=7, node="Seq Scan")

    assert (
        "7 of 20 plans use it; the first: Seq Scan" in findings_of(after=[after])["plan uses the index"].found
    )


def test_a_probe_that_nobody_measured_is_unknown() -> None:
    findings = findings_of(after=[])

    assert told(findings["plan uses the index"]) == (Verdict.UNKNOWN, "not_measured")


@pytest.mark.parametrize(
    ("after", "verdict", "reason"),
    [
        (replace(AFTER, median_seconds=0.010), Verdict.PASS, "within_limit"),
        (replace(AFTER, median_seconds=0.011), Verdict.FAIL, "too_slow"),
        (STOPPED, Verdict.FAIL, "too_slow"),
        (replace(STOPPED, stopped_after_seconds=0.005), Verdict.UNKNOWN, "timed_out"),
        (replace(AFTER, median_seconds=None, detail="not timed: a write"), Verdict.UNKNOWN, "not_timed"),
    ],
)
def test_times_are_held_against_their_limit(after: ProbeMeasurement, verdict: Verdict, reason: str) -> None:
    assert told(findings_of(after=[after])["time"]) == (verdict, reason)


@pytest.mark.parametrize(
    ("before", "after", "verdict", "reason"),
    [
        (0.0100, 0.0050, Verdict.PASS, "faster"),
        (0.0100, 0.0100, Verdict.PASS, "not_slower"),
        (0.0010, 0.0059, Verdict.PASS, "not_slower"),
        (0.1000, 0.1900, Verdict.PASS, "not_slower"),
        (0.1000, 0.2100, Verdict.FAIL, "slower"),
        (0.0010, 0.0070, Verdict.FAIL, "slower"),
    ],
)
def test_a_change_within_noise_is_no_failure(
    before: float, after: float, verdict: Verdict, reason: str
) -> None:
    findings = findings_of(
        UNLIMITED,
        [replace(BEFORE, median_seconds=before)],
        [replace(AFTER, median_seconds=after)],
    )

    assert told(findings["time before and after"]) == (verdict, reason)
    assert "time" not in findings


def test_slower_but_within_its_limit_passes_with_a_note() -> None:
    before, after = replace(BEFORE, median_seconds=0.001), replace(AFTER, median_seconds=0.009)

    finding = findings_of(before=[before], after=[after])["time before and after"]

    assert told(finding) == (Verdict.PASS, "slower_within_limit")


@pytest.mark.parametrize(
    ("before", "after", "verdict", "reason"),
    [
        ([], [AFTER], Verdict.UNKNOWN, "no_baseline"),
        ([replace(BEFORE, median_seconds=None)], [AFTER], Verdict.UNKNOWN, "no_baseline"),
        ([STOPPED], [AFTER], Verdict.PASS, "faster"),
        ([STOPPED], [replace(AFTER, median_seconds=60.0)], Verdict.UNKNOWN, "no_baseline"),
        ([BEFORE], [STOPPED], Verdict.FAIL, "slower"),
        ([STOPPED], [STOPPED], Verdict.UNKNOWN, "no_baseline"),
    ],
)
def test_a_missing_or_stopped_figure_proves_a_slow_time_only(
    before: list[ProbeMeasurement], after: list[ProbeMeasurement], verdict: Verdict, reason: str
) -> None:
    assert told(findings_of(UNLIMITED, before, after)["time before and after"]) == (verdict, reason)


def test_whatever_does_not_pass_says_what_was_found_and_what_to_do() -> None:
    states = [facts_of(observed(MESSAGES, state)) for state in IndexState]
    poor = replace(
        FACTS, indisvalid=False, size_bytes=1 << 30, nullable=("sender_id",), table_last_analyze=None
    )
    unproven = replace(FACTS, indisready=None, size_bytes=None, unproven=("sender_id",))
    slow = replace(AFTER, samples_using_index=3, median_seconds=2.0)
    findings = [
        finding
        for facts in [*states, poor, unproven]
        for after in ([], [slow], [replace(UNPLANNED, reason="failed", detail="no such table")])
        for finding in verify([facts], [BEFORE], after)
    ]

    wanting = [finding for finding in findings if finding.verdict is not Verdict.PASS]
    assert len({finding.reason for finding in wanting}) > 10
    assert all(finding.hint and finding.found and finding.reason for finding in wanting)
    assert all(finding.hint is None for finding in findings if finding.verdict is Verdict.PASS)


def test_indexes_are_judged_in_their_order_and_by_their_own_probes() -> None:
    other = replace(MESSAGES, name="idx_other")
    facts = [facts_of(observed(other)), FACTS]

    findings = verify(facts, [BEFORE], [AFTER, replace(measured_after(other), samples_using_index=0)])

    subjects = list(dict.fromkeys(finding.subject.split(",")[0] for finding in findings))
    assert subjects == ["public.idx_other", "public.idx_messages_sender_created"]
    plans = [finding.verdict for finding in findings if finding.criterion == "plan uses the index"]
    assert plans == [Verdict.FAIL, Verdict.PASS]
