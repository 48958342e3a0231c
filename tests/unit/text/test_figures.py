"""Figures as people read them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from exporter.text.figures import byte_size, duration, faster_by, moment, size_ratio, speedup, taken
from tests.unit.migrate.samples import MESSAGES, facts_of, measured_after, measured_before, observed

BEFORE, AFTER = measured_before(MESSAGES), measured_after(MESSAGES)
STOPPED = replace(BEFORE, median_seconds=None, stopped_after_seconds=15.0)
NOTHING = replace(BEFORE, median_seconds=None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00042, "0.42 ms"),
        (0.0234, "23.4 ms"),
        (0.9, "900 ms"),
        (4.21, "4.2 s"),
        (130, "2 min 10 s"),
        (3900, "1 h 05 min"),
        (86400, "24 h"),
        (3 * 86400, "3 days"),
        (0, "0 s"),
        (0.9996, "1.0 s"),
        (59.96, "1 min"),
        (0.000001, "under 0.01 ms"),
        (47 * 3600, "47 h"),
        (74 * 3600 + 1800, "3 days 2 h"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (10 * 1024 - 1, "10239 bytes"),
        (10 * 1024, "10 kB"),
        (160 * 1024**2, "160 MB"),
        (50 * 1024**3, "50 GB"),
        (10**21, "888178 PB"),
    ],
)
def test_a_size_is_written_as_pg_size_pretty_does(size_bytes: int, text: str) -> None:
    assert byte_size(size_bytes) == text


def test_a_moment_is_told_in_utc() -> None:
    elsewhere = datetime(2026, 8, 20, 1, 3, 11, tzinfo=timezone(timedelta(hours=2)))

    assert moment(elsewhere) == "2026-08-19 23:03:11 UTC" == moment(elsewhere.astimezone(UTC))


def test_a_ratio_needs_both_sizes_and_a_table_with_pages() -> None:
    facts = facts_of(observed(MESSAGES))

    assert size_ratio(facts) == pytest.approx(0.125)
    assert size_ratio(replace(facts, size_bytes=0)) == 0
    assert size_ratio(replace(facts, size_bytes=None)) is None
    assert size_ratio(replace(facts, table_size_bytes=0)) is None


def test_a_speedup_needs_two_figures_and_a_stopped_run_bounds_it() -> None:
    slower = replace(AFTER, median_seconds=0.1)

    assert speedup(BEFORE, AFTER) == pytest.approx(200)
    assert faster_by(BEFORE, AFTER) == "200x"
    assert faster_by(BEFORE, slower) == "0.8x"
    assert faster_by(STOPPED, slower) == "> 150x"
    for before, after in ((None, AFTER), (BEFORE, None), (NOTHING, AFTER), (BEFORE, STOPPED)):
        assert (speedup(before, after), faster_by(before, after)) == (None, None)
    assert (taken(AFTER), taken(STOPPED), taken(NOTHING)) == ("0.42 ms", "> 15.0 s", None)
