"""The report in each form: goldens for the whole, and what must hold whatever a name contains."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from exporter.migrate.report import (
    PlanReport,
    as_json,
    as_markdown,
    as_text,
    exit_code,
    plan_as_json,
    plan_as_markdown,
    plan_as_text,
    plan_exit_code,
)
from exporter.model import (
    IndexState,
    Outcome,
    Plan,
    StepKind,
    StepStatus,
    Verdict,
)
from exporter.text.characters import columns_of, cut, pad, wrap
from exporter.text.figures import byte_size
from tests.unit.migrate.samples import (
    MESSAGES,
    ODD,
    POSTS,
    degraded,
    done,
    dry_run,
    failed,
    found_wanting,
    nothing_to_do,
    observed,
    outcome_of,
    plan_of,
    refused,
    result_of,
    rolled_back,
)

REPORT_PAGE = Path(__file__).parents[4] / "docs" / "report.md"
OUTCOMES: dict[str, Callable[[], Outcome]] = {
    "done": lambda: done(MESSAGES, POSTS),
    "nothing_to_do": nothing_to_do,
    "dry_run": dry_run,
    "failed": failed,
    "found_wanting": found_wanting,
    "refused": refused,
    "rolled_back": rolled_back,
    "degraded": degraded,
    "odd_names": lambda: done(ODD),
}
FORMS: dict[str, Callable[[Outcome], str]] = {"txt": as_text, "md": as_markdown, "json": as_json}

every_outcome = pytest.mark.parametrize("make", OUTCOMES.values(), ids=OUTCOMES)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", OUTCOMES)
def test_the_report_reads_as_it_did(name: str, form: str, golden: Callable[[str, str], None]) -> None:
    golden(f"report_{name}.{form}", FORMS[form](OUTCOMES[name]()))


@every_outcome
def test_no_line_of_the_text_is_wider_than_a_terminal_or_acts_upon_it(make: Callable[[], Outcome]) -> None:
    lines = as_text(make()).split("\n")

    assert max(map(columns_of, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_names_as_long_and_as_wide_as_can_be_stay_within_the_terminal() -> None:
    wide = replace(
        MESSAGES,
        name="索引" * 10 + "索",
        table=replace(MESSAGES.table, schemaname="s" * 63, relname="t" * 63),
        where=f"note <> '{'x' * 200}'",
    )
    long = replace(MESSAGES, name="i" * 63)

    for index in (wide, long):
        for text in (as_text(done(index)), plan_as_text(plan_report(plan_of(index)))):
            assert max(map(columns_of, text.split("\n"))) <= 80
        # Broken over lines, but nothing is cut off.
        assert index.name in re.sub(r"\s+", "", as_text(done(index)))


@pytest.mark.parametrize("width", [50, 60, 80])
@every_outcome
def test_a_narrower_terminal_has_narrower_lines(make: Callable[[], Outcome], width: int) -> None:
    outcome = make()

    text = as_text(outcome, width)

    assert max(map(columns_of, text.split("\n"))) <= width
    assert squeezed(text) == squeezed(as_text(outcome))


def squeezed(text: str) -> str:
    """Every word of a report, each once: asides stand elsewhere where a line is broken elsewhere."""
    return "".join(sorted(re.sub(r"\s+", "", text)))


class Elements(HTMLParser):
    """Collects the elements of what a Markdown processor would take for HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def test_markdown_holds_no_html_and_no_broken_table() -> None:
    whole = as_markdown(done(ODD))
    # Inside a fence every character is shown as it is.
    text = re.sub(r"^ *(`{3,})text\n.*?^ *\1$", "", whole, flags=re.DOTALL | re.MULTILINE)
    assert (whole.count("```text"), text.count("```")) == (2, 0)

    elements = Elements()
    elements.feed(text)
    assert elements.found == []
    assert all(line.isprintable() for line in text.split("\n"))
    rows = [line for line in text.split("\n") if line.startswith("|")]
    # A bar in a name would add a cell: sizes have seven of them, probes five.
    assert [len(re.split(r"(?<!\\)\|", row)) - 2 for row in rows] == [7] * 3 + [5] * 3
    assert all(line.count("`") == line.count("\\`") for line in text.split("\n"))


def test_markdown_shows_sql_in_a_fence_that_the_sql_cannot_close() -> None:
    index = replace(MESSAGES, where="note = '```\n```` <b>'")

    lines = as_markdown(replace(outcome_of(plan_of(index)), dry_run=True)).split("\n")

    fences = [line.strip() for line in lines if line.strip().startswith("`````")]
    assert fences[:2] == ["`````sql", "`````"]
    assert any("<b>" in line for line in lines)


@every_outcome
def test_json_has_the_documented_keys_only(make: Callable[[], Outcome]) -> None:
    page = REPORT_PAGE.read_text(encoding="utf-8")
    text = as_json(make())

    assert text.isascii()
    keys = set(keys_of(json.loads(text)))
    assert {key for key in keys if f"`{key}`" not in page} == set()


def test_every_kind_of_step_and_every_state_is_documented() -> None:
    page = REPORT_PAGE.read_text(encoding="utf-8")

    assert {kind.value for kind in StepKind if f"| `{kind.value}` |" not in page} == set()
    states = next(line for line in page.splitlines() if line.startswith("| `state` |"))
    assert {state.value for state in IndexState if state.value not in states} == set()


def keys_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for inner in value.values() for key in keys_of(inner))]
    if isinstance(value, list):
        return [key for inner in value for key in keys_of(inner)]
    return []


def test_json_gives_back_names_and_figures_as_they_are() -> None:
    document = json.loads(as_json(done(ODD)))

    (index,) = document["indexes"]
    assert (index["schemaname"], index["relname"]) == (ODD.table.schemaname, ODD.table.relname)
    assert index["indexname"] == ODD.name
    assert index["size_ratio"] == pytest.approx(0.125)
    (probe,) = document["probes"]
    assert probe["speedup"] == pytest.approx(200)
    assert document["results"][0]["phases"][0]["phase"] == "building index: scanning table"
    assert document["exit_code"] == 0


def test_json_of_unknown_figures_is_null_not_zero() -> None:
    outcome = found_wanting()
    unread = replace(outcome.facts[0], size_bytes=None, table_size_bytes=None, table_pages=None)

    document = json.loads(as_json(replace(outcome, facts=(unread,))))

    assert document["indexes"][0]["size_bytes"] is None
    assert document["indexes"][0]["size_ratio"] is None
    assert document["probes"][1]["after"]["median_seconds"] is None
    assert document["probes"][1]["speedup"] is None


def test_a_second_run_says_that_there_was_nothing_to_do() -> None:
    assert "Nothing to do: 2 declared indexes, all in place." in as_text(nothing_to_do())


def test_a_refused_preflight_is_not_taken_for_nothing_to_do() -> None:
    fault = replace(found_wanting().findings[3], verdict=Verdict.FAIL)

    text = as_text(replace(outcome_of(plan_of()), preflight=(fault,)))

    assert "Nothing to do" not in text
    assert "Nothing changed: preflight checks failed." in text


def test_a_figure_from_a_stopped_run_is_told_as_a_bound() -> None:
    text = as_text(found_wanting())

    assert "> 15.0 s" in text
    assert re.search(r"> \d+x", text)


def test_a_rough_estimate_is_told_as_one() -> None:
    outcome = done(MESSAGES)
    rough = replace(outcome, estimates=tuple(replace(one, is_rough=True) for one in outcome.estimates))

    assert ("~ 24 MB" in as_text(outcome), "~ 24 MB" in as_text(rough)) == (False, True)
    assert json.loads(as_json(rough))["indexes"][0]["estimate_is_rough"] is True


def test_a_plan_tells_sql_lock_end_and_undo_of_each_step() -> None:
    text = re.sub(r"\s+", " ", plan_as_text(plan_report(plan_of(MESSAGES))))

    assert "2 steps to do: build 1 index, analyze 1 table." in text
    for step in plan_of(MESSAGES).steps:
        assert step.sql in text
        assert f"lock: {step.lock}" in text
        assert f"done when: {step.done_when}" in text
        assert step.undo is None or f"undo: {step.undo}" in text


def test_a_plan_tells_where_it_would_be_done_and_repeats_no_lock() -> None:
    text = plan_as_text(plan_report(plan_of(MESSAGES, POSTS)))

    assert text.splitlines()[1] == "database 'nova' at 127.0.0.1:5432, PostgreSQL 18.1"
    assert text.count("ShareUpdateExclusiveLock on the table") == 2
    assert text.count("lock, done when: as in step 1") == 1
    assert text.count("lock, done when: as in step 2") == 1


def test_a_plan_gives_the_estimate_of_each_build_and_of_all() -> None:
    estimates = done(MESSAGES, POSTS).estimates
    report = replace(plan_report(plan_of(MESSAGES, POSTS)), estimates=estimates)
    document = json.loads(plan_as_json(report))

    text = re.sub(r"\s+", " ", plan_as_text(report))
    assert text.count("estimate, at most: ") == 2
    assert "Estimate of all builds, at most: " in text
    assert "Estimate of all builds, at most: " in plan_as_markdown(report)
    assert [one["index_bytes"] for one in document["estimates"]] == [one.index_bytes for one in estimates]


def test_the_json_of_a_plan_has_the_documented_keys_only() -> None:
    page = REPORT_PAGE.read_text(encoding="utf-8")
    report = replace(plan_report(plan_of(MESSAGES, POSTS)), estimates=done(MESSAGES, POSTS).estimates)

    keys = set(keys_of(json.loads(plan_as_json(report))))
    assert {key for key in keys if f"`{key}`" not in page} == set()


def test_a_plan_that_would_be_refused_says_so_first_and_exits_with_one() -> None:
    fault = replace(found_wanting().findings[3], verdict=Verdict.FAIL, subject="the server", hint="fix it")
    report = replace(plan_report(plan_of(MESSAGES)), preflight=(fault,))

    text = plan_as_text(report)
    assert headings(text)[0] == "Preflight"
    assert "init would refuse to start here" in text
    assert (plan_exit_code(report), json.loads(plan_as_json(report))["exit_code"]) == (1, 1)
    assert plan_exit_code(plan_report(plan_of(MESSAGES))) == 0


def headings(text: str) -> list[str]:
    return [re.split(r"  ", line)[0] for line in text.splitlines() if re.match("[A-Z][a-z ]+(  |$)", line)]


def test_what_to_do_next_comes_first_and_the_preflight_of_a_run_last() -> None:
    wanting = replace(found_wanting().findings[3], verdict=Verdict.WARN, subject="the server")
    text = as_text(replace(done(MESSAGES), preflight=(wanting,)))

    assert headings(text) == ["Next steps", "Steps", "Sizes", "Probes", "Criteria", "Preflight"]


def test_what_has_no_source_takes_one_line_of_the_plan_and_none_of_the_report_after_it() -> None:
    unknown = replace(found_wanting().findings[3], verdict=Verdict.UNKNOWN, subject="the server")
    disk = replace(unknown, criterion="disk", reason="no_source")
    backup = replace(unknown, criterion="backup", reason="no_command")
    outcome = replace(done(MESSAGES), preflight=(disk, backup))

    plan = plan_as_text(replace(plan_report(outcome.plan), preflight=outcome.preflight))

    assert plan.endswith(
        "  the server\n    unknown  no source for disk (--free-bytes), backup (--backup-command)\n"
    )
    assert "no source" not in as_text(outcome)
    assert [finding["reason"] for finding in json.loads(as_json(outcome))["preflight"]] == [
        "no_source",
        "no_command",
    ]


@every_outcome
def test_no_reason_code_stands_beside_its_sentence(make: Callable[[], Outcome]) -> None:
    outcome = make()
    codes = {finding.reason for finding in (*outcome.findings, *outcome.preflight) if "_" in finding.reason}

    for form in (as_text, as_markdown):
        assert {code for code in codes if code in form(outcome)} == set()


def test_a_step_that_was_not_timed_has_no_duration() -> None:
    outcome = done(MESSAGES)
    result = replace(outcome.results[0], seconds=0.0, phases=())

    assert "0.00 ms" not in as_text(replace(outcome, results=(result,)))


def test_of_a_refused_run_the_reason_comes_before_the_rest() -> None:
    fault = replace(found_wanting().findings[3], verdict=Verdict.FAIL, subject="the server", hint="fix it")
    text = as_text(replace(outcome_of(plan_of()), preflight=(fault,)))

    assert headings(text) == ["Next steps", "Preflight"]
    assert "  the server: fix it\n  Then run init again.\n" in text


def test_a_hint_that_many_steps_need_is_told_once_with_their_names() -> None:
    indexes = [replace(MESSAGES, name=f"idx_{number}") for number in range(5)]
    outcome = outcome_of(plan_of(*indexes))
    results = tuple(
        replace(result_of(step, StepStatus.FAILED), message="disk full", hint="make room")
        for step in outcome.plan.steps
        if step.index is not None
    )

    document = json.loads(as_json(replace(outcome, results=results)))

    assert document["next_steps"] == [
        "public.idx_0, public.idx_1, public.idx_2 and 2 more: make room",
        "Run the same command again; finished steps are skipped.",
    ]


@every_outcome
def test_text_markdown_and_json_tell_the_same_summary_and_next_steps(make: Callable[[], Outcome]) -> None:
    outcome = make()
    document = json.loads(as_json(outcome))
    forms = [re.sub(r"[\s\\]+", "", form(outcome)) for form in (as_text, as_markdown)]

    for told in (*document["summary"], *document["next_steps"]):
        squeezed = re.sub(r"[\s\\]+", "", told)
        assert all(squeezed in text for text in forms), told


def test_wal_is_told_beside_its_estimate_in_every_form() -> None:
    outcome = done(MESSAGES, POSTS)
    expected_bytes = sum(one.wal_bytes for one in outcome.estimates)

    for form in (as_text, as_markdown):
        told = re.sub(r"\s+", " ", form(outcome))
        assert f"steps: 52 MB (estimate for the builds: {byte_size(expected_bytes)})" in told
    document = json.loads(as_json(outcome))
    assert (document["wal_bytes"], document["estimated_wal_bytes"]) == (52 * 1024 * 1024, expected_bytes)


def test_plans_of_probes_are_in_text_only_where_asked_for_and_keep_their_indentation() -> None:
    outcome = done(MESSAGES)
    narrow = as_text(outcome, 50, with_plans=True)

    assert "Index Cond" not in as_text(outcome)
    shown = as_text(outcome, 120, with_plans=True)
    assert "\n    Limit  (cost=0.42..193.17 rows=50)\n      ->  Index Scan using " in shown
    assert "\n            Index Cond: (sender_id = ?)\n" in shown
    assert [line for line in narrow.splitlines() if columns_of(line) > 50] == []
    assert "```text\n" in as_markdown(outcome)


def test_an_empty_plan_says_so() -> None:
    settled = (observed(MESSAGES),)

    assert "Nothing to do: 1 declared index, all in place." in plan_as_text(
        plan_report(replace(plan_of(), settled=settled))
    )


def plan_report(plan: Plan) -> PlanReport:
    return PlanReport(
        plan,
        "nova",
        "database 'nova' at 127.0.0.1:5432",
        "18.1",
        datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
    )


def with_status(status: StepStatus) -> Outcome:
    outcome = done(MESSAGES)
    return replace(outcome, results=(replace(outcome.results[0], status=status), *outcome.results[1:]))


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (done(MESSAGES), 0),
        (nothing_to_do(), 0),
        (dry_run(), 0),
        (rolled_back(), 0),
        (found_wanting(), 1),
        (with_status(StepStatus.FAILED), 1),
        (with_status(StepStatus.SKIPPED), 1),
        (failed(), 3),
        (with_status(StepStatus.LEFT_BEHIND), 3),
        (degraded(), 3),
        (refused(), 4),
        (with_status(StepStatus.HALTED), 4),
        (with_status(StepStatus.DETACHED), 4),
        (replace(failed(), plan=refused().plan), 3),
    ],
)
def test_the_exit_code_tells_the_worst_that_happened(outcome: Outcome, code: int) -> None:
    assert exit_code(outcome) == code


def test_unknown_findings_count_when_strict() -> None:
    outcome = done(MESSAGES)
    unknown = replace(outcome.findings[0], verdict=Verdict.UNKNOWN, hint="look again")
    doubtful = replace(outcome, findings=(unknown, *outcome.findings[1:]))

    assert (exit_code(doubtful), exit_code(doubtful, strict=True)) == (0, 1)
    assert exit_code(outcome, strict=True) == 0


def test_a_text_is_cut_and_padded_by_columns_not_by_characters() -> None:
    wide = "索引索引索引"

    assert (cut(wide, 12), cut(wide, 8), cut(wide, 7)) == (wide, "索引索…", "索引索…")
    assert columns_of(pad(cut(wide, 8), 10)) == 10


@pytest.mark.parametrize("width", [2, 7, 80])
def test_wrapped_lines_fit_and_lose_only_spaces(width: int) -> None:
    text = "a bb ccc 索引索引索引 dddddddddddddd e\u0301e\u0301e\u0301 f"

    lines = wrap(text, width)

    assert max(map(columns_of, lines)) <= width
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
