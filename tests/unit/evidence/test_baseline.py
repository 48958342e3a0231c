"""The baseline survives the journal, and what other versions wrote there is read as far as it goes."""

import json
from dataclasses import replace

import pytest

from exporter.evidence.baseline import from_detail, to_detail, with_fresh
from exporter.model import ProbeMeasurement
from tests.unit.migrate.samples import MESSAGES, ODD, measured_after, measured_before


def test_measurements_come_back_from_the_journal_as_they_were() -> None:
    stopped = replace(
        measured_before(ODD),
        median_seconds=None,
        reason="timed_out",
        detail="no run ended\nin time",
        stopped_after_seconds=14.97,
    )
    measurements = (measured_before(MESSAGES), measured_after(MESSAGES), stopped)

    stored = json.loads(json.dumps(to_detail(measurements), allow_nan=False))

    assert from_detail(stored) == measurements


def test_a_fresh_measurement_takes_the_place_of_the_kept_one_of_its_probe() -> None:
    kept = (measured_before(MESSAGES), measured_before(ODD))
    again = replace(measured_before(ODD), median_seconds=7.0)

    assert with_fresh(kept, (again,)) == (measured_before(MESSAGES), again)
    assert with_fresh((), kept) == with_fresh(kept, ()) == kept


def test_other_shapes_are_read_as_far_as_they_go() -> None:
    detail = {
        "probes": [
            {"index_name": "i", "probe": "p"},
            {"index_name": "i", "probe": "q", "samples": "20", "median_seconds": 1, "node": 7, "new": []},
            {"index_name": "i", "probe": "r", "samples": True, "runs": 3.0, "total_cost": None},
            {"index_name": "i"},
            {"probe": "p"},
            "p",
            None,
        ]
    }

    nothing = ProbeMeasurement("i", "p", 0, None, None, 0, None, None)
    assert from_detail(detail) == (
        nothing,
        replace(nothing, probe="q", median_seconds=1.0),
        replace(nothing, probe="r", runs=3),
    )


@pytest.mark.parametrize("detail", [{}, {"probes": None}, {"probes": {}}, {"size_bytes": 1}])
def test_a_detail_without_a_baseline_holds_none(detail: dict[str, object]) -> None:
    assert from_detail(detail) == ()
