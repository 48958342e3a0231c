"""Shares of a whole build, by phase, access method and kind."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.postgres.builds import phases
from exporter.postgres.builds.progress import BuildProgress
from tests.support.watched import SCANNING

# In the order in which the server goes through them.
ALL = [
    "initializing",
    "waiting for writers before build",
    "building index",
    "building index: initializing",
    "building index: scanning table",
    "building index: sorting live tuples",
    "building index: sorting dead tuples",
    "building index: sorting tuples (workers)",
    "building index: merging tuples (workers)",
    "building index: loading tuples in tree",
    "building index: merging tuples",
    "waiting for writers before validation",
    "index validation: scanning index",
    "index validation: sorting tuples",
    "index validation: scanning table",
    "waiting for old snapshots",
    "waiting for readers before marking dead",
    "waiting for readers before dropping",
]


def build(phase: str, **rest: object) -> BuildProgress:
    known = {"phase": phase, "blocks_total": 0, "blocks_done": 0} | rest
    return replace(SCANNING, **known)  # type: ignore[arg-type]  # the fields by their names


@pytest.mark.parametrize("method", phases.WEIGHTS)
def test_the_weights_add_up_to_a_whole(method: str) -> None:
    assert sum(phases.WEIGHTS[method].values()) == pytest.approx(1.0)


counts = st.none() | st.integers(min_value=0, max_value=2**62)


@given(
    st.sampled_from([*ALL, phases.WAITING_FOR_TABLE, "a phase of a later version", ""]) | st.none(),
    st.sampled_from([*phases.WEIGHTS, "an extension's", None]),
    st.sampled_from(["CREATE INDEX CONCURRENTLY", "CREATE INDEX", "REINDEX CONCURRENTLY", None]),
    counts,
    counts,
    counts,
    counts,
)
def test_a_share_is_between_nothing_and_all(
    phase: str | None,
    amname: str | None,
    command: str | None,
    blocks: int | None,
    blocks_done: int | None,
    tuples: int | None,
    tuples_done: int | None,
) -> None:
    found = replace(
        SCANNING,
        phase=phase,
        amname=amname,
        command=command,
        blocks_total=blocks,
        blocks_done=blocks_done,
        tuples_total=tuples,
        tuples_done=tuples_done,
    )

    assert found.phase_share is None or 0 <= found.phase_share <= 1
    assert found.share is None or 0 <= found.share <= 1


@pytest.mark.parametrize("method", phases.WEIGHTS)
@pytest.mark.parametrize("command", ["CREATE INDEX CONCURRENTLY", "CREATE INDEX"])
def test_every_phase_begins_where_the_one_before_ended(method: str, command: str) -> None:
    spans = [build(phase, amname=method, command=command).span for phase in ALL]
    # Without sub-phases the whole build is one.
    known = [span for phase, span in zip(ALL, spans, strict=True) if span and phase != "building index"]
    working = [span for span in known if span[0] < span[1]]
    if method in ("btree", "gin"):
        starts, ends = [span[0] for span in working], [span[1] for span in working]
        assert starts == pytest.approx([0.0, *ends[:-1]])
        assert ends[-1] == pytest.approx(1.0)
    assert known[-1] == (1.0, 1.0)


def test_half_of_a_phase_is_half_of_its_weight() -> None:
    half = build("building index: scanning table", blocks_total=10, blocks_done=5)

    assert half.share == pytest.approx(phases.WEIGHTS["btree"]["building index: scanning table"] / 2)


def test_a_build_that_blocks_writers_has_no_validation() -> None:
    loading = build("building index: loading tuples in tree", command="CREATE INDEX", tuples_total=4)

    assert loading.span is not None
    assert loading.span[1] == pytest.approx(1.0)
    assert build("index validation: scanning table", command="CREATE INDEX").share is None


def test_the_build_of_a_method_without_sub_phases_is_one_phase() -> None:
    half = build("building index", amname="gist", blocks_total=100, blocks_done=50)

    assert half.phase_share == 0.5
    assert half.share == pytest.approx(0.85 / 2)
    assert build("building index", amname="gin").span == pytest.approx((0.0, 0.74))


def test_counters_left_over_from_the_phase_before_do_not_count() -> None:
    sorting = build("building index: sorting live tuples", blocks_total=10, blocks_done=10)

    assert sorting.phase_share is None
    assert sorting.share == pytest.approx(phases.WEIGHTS["btree"]["building index: scanning table"])


def test_what_is_not_known_has_no_share() -> None:
    assert build("a phase of a later version").share is None
    assert replace(SCANNING, phase=None).share is None
