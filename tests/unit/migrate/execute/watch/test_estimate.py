"""How far a build is and how long it will take, from looks at it."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.migrate.events import Estimate
from exporter.migrate.execute.watch.estimate import Estimator
from exporter.postgres.builds import phases
from exporter.postgres.builds.progress import BuildProgress
from tests.support.watched import SCANNING, WAITING

BTREE = phases.WEIGHTS["btree"]
WHOLE_SECONDS = 1000.0
BLOCKS = 100_000


def at_work(phase: str, share: float) -> BuildProgress:
    """The build in a phase of which that share is done."""
    done = round(share * BLOCKS)
    counters = {"blocks_total": 0, "blocks_done": 0, "tuples_total": 0, "tuples_done": 0}
    if phases.counts_blocks(phase):
        counters |= {"blocks_total": BLOCKS, "blocks_done": done}
    elif phases.counts_tuples(phase):
        counters |= {"tuples_total": BLOCKS, "tuples_done": done}
    return replace(SCANNING, phase=phase, **counters)  # type: ignore[arg-type]  # the fields by their names


def steady(weights: dict[str, float], step_seconds: float = 0.5) -> Iterable[tuple[float, BuildProgress]]:
    """The looks at a build that takes its weights' time in every phase."""
    now = 0.0
    for phase, weight in weights.items():
        seconds, begun = weight * WHOLE_SECONDS, now
        while now < begun + seconds:
            yield now, at_work(phase, (now - begun) / seconds)
            now += step_seconds


def estimates(looks: Iterable[tuple[float, BuildProgress]]) -> list[tuple[float, Estimate]]:
    estimator = Estimator()
    return [(now, estimator.add(now, build)) for now, build in looks]


def test_a_steady_build_is_estimated_rightly_from_soon_after_its_start() -> None:
    found = estimates(steady(dict(BTREE)))

    known = [(now, one.remaining_seconds) for now, one in found if one.remaining_seconds is not None]
    assert known[0][0] < 20
    # Short gaps only, where the counters of a new phase have not moved enough.
    assert len(known) > 0.9 * len(found)
    for now, remaining in known:
        assert remaining == pytest.approx(WHOLE_SECONDS - now, abs=0.02 * WHOLE_SECONDS)


def test_a_build_that_is_slower_in_one_phase_is_estimated_by_what_is_seen() -> None:
    slow = {phase: weight * (4 if phase.endswith("index") else 1) for phase, weight in BTREE.items()}
    total = sum(slow.values()) * WHOLE_SECONDS
    found = [(now, one) for now, one in estimates(steady(slow)) if one.remaining_seconds is not None]

    now, last = found[-1]
    assert last.remaining_seconds == pytest.approx(total - now, abs=0.05 * total)


def test_the_rate_is_that_of_the_counters() -> None:
    found = estimates(steady({"building index: scanning table": 0.1}))

    assert found[1][1].rate is None
    assert found[-1][1].rate == pytest.approx(BLOCKS / 100, rel=0.01)
    assert found[-1][1].rate_unit == "blocks"
    loading = estimates(steady({"building index: loading tuples in tree": 0.1}))
    assert loading[-1][1].rate_unit == "tuples"


def test_nothing_is_promised_at_first() -> None:
    estimator = Estimator()

    for now in (0.0, 0.5, 1.0, 2.5):
        look = estimator.add(now, at_work("building index: scanning table", now / 100))
        assert look.remaining_seconds is None


def test_nothing_is_promised_while_it_waits_for_others() -> None:
    looks = list(steady({"building index: scanning table": 0.36}))
    end = looks[-1][0]
    waits = [replace(WAITING, phase="waiting for writers before validation"), at_work("initializing", 0)]
    waits.append(replace(at_work("building index: scanning table", 0.9), waiting_seconds=0.5))
    for wait in waits:
        estimator = Estimator()
        for now, build in looks:
            estimator.add(now, build)
        found = estimator.add(end + 1, wait)
        assert (found.rate, found.remaining_seconds) == (None, None) or wait.phase == "initializing"
        assert found.share >= 0.35


def test_time_that_passes_in_waits_is_no_work() -> None:
    looks = list(steady(dict(BTREE)))
    waited = 10_000.0
    half = len(looks) // 2
    wait = replace(WAITING, phase=looks[half][1].phase, blocks_total=0)
    later = [(now + waited, build) for now, build in looks[half:]]
    found = estimates([*looks[:half], (looks[half][0], wait), (looks[half][0] + waited, wait), *later])

    now, last = found[-20]
    assert last.remaining_seconds == pytest.approx(WHOLE_SECONDS + waited - now, abs=0.05 * WHOLE_SECONDS)


def test_of_a_build_that_is_followed_only_what_was_seen_counts() -> None:
    looks = [(now, build) for now, build in steady(dict(BTREE)) if now > 500]
    found = [(now, one) for now, one in estimates(looks) if one.remaining_seconds is not None]

    for now, one in found:
        assert one.remaining_seconds == pytest.approx(WHOLE_SECONDS - now, abs=0.03 * WHOLE_SECONDS)


def test_a_method_that_does_not_count_all_its_work_promises_nothing_at_the_end_of_its_scan() -> None:
    estimator = Estimator()
    gist = replace(SCANNING, amname="gist")
    for now in range(20):
        build = replace(gist, phase="building index", blocks_total=20, blocks_done=now + 1)
        found = estimator.add(float(now), build)

    assert found.remaining_seconds is None
    assert found.share == pytest.approx(0.85)


shares = st.floats(min_value=0, max_value=1)
everything = st.tuples(
    st.floats(min_value=0, max_value=100),
    st.sampled_from(
        [*BTREE, "building index", "waiting for old snapshots", "initializing", "of a later version"]
    ),
    shares,
    st.sampled_from([None, 0.5]),
)


@given(st.lists(everything, max_size=30))
def test_the_share_never_goes_back_and_nothing_is_below_zero(
    looks: list[tuple[float, str, float, float | None]],
) -> None:
    estimator, now, before = Estimator(), 0.0, 0.0
    for since, phase, share, waiting_seconds in looks:
        now += since
        found = estimator.add(now, replace(at_work(phase, share), waiting_seconds=waiting_seconds))
        assert before <= found.share <= 1
        assert found.rate is None or found.rate > 0
        assert found.remaining_seconds is None or found.remaining_seconds >= 0
        before = found.share
