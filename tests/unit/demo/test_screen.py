"""What the demo shows of two runs of the workload."""

import io

import pytest
from rich.console import Console

from exporter.demo.screen import Screen, comparison_table, format_ratio, format_seconds
from exporter.demo.workload import KINDS, Latency, WorkloadResult


def _shown(before: WorkloadResult, after: WorkloadResult) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=80).print(comparison_table(before, after))
    return file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000004, "0.00 ms"),
        (0.00049, "0.49 ms"),
        (0.001, "1.00 ms"),
        (0.0483, "48.3 ms"),
        (0.1049, "105 ms"),
        (0.9999, "1000 ms"),
        (1.0, "1.00 s"),
        (12.34, "12.3 s"),
        (123.4, "123 s"),
    ],
)
def test_a_duration_has_three_digits_and_a_fitting_unit(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (0.1, 0.001, "100 x faster"),
        (0.0034, 0.001, "3.4 x faster"),
        (0.001, 0.0014, "1.4 x slower"),
        (0.0011, 0.001, "about the same"),
        (0.001, 0.0011, "about the same"),
    ],
)
def test_a_ratio_says_which_way_it_goes(before: float, after: float, text: str) -> None:
    assert format_ratio(before, after) == text


def test_the_table_fits_80_columns_at_its_widest() -> None:
    """Ratios of six digits and latencies of four, for every kind."""
    slow = WorkloadResult(5.0, tuple(Latency(kind, 1, 0.9999, 0.9999) for kind in KINDS))
    fast = WorkloadResult(5.0, tuple(Latency(kind, 1, 0.000001, 0.9999) for kind in KINDS))

    lines = _shown(slow, fast)

    assert len(lines) == 2 + len(KINDS)
    assert all("999900 x faster" in line for line in lines[2:])
    assert max(map(len, lines)) <= 80


def test_a_kind_that_was_not_reached_is_not_invented() -> None:
    nothing = WorkloadResult(5.0, ())
    something = WorkloadResult(5.0, (Latency("feed", 3, 0.5, 0.6),))

    feed = next(line for line in _shown(nothing, something) if "feed" in line)

    assert feed.split() == ["feed", "-", "-", "500", "ms", "600", "ms", "-"]


def test_progress_in_a_file_is_one_line_without_control_characters() -> None:
    file = io.StringIO()
    with Screen(Console(file=file, width=80)).progress("loading", "loaded") as advance:
        advance(0, 10)
        advance(10, 10)

    assert file.getvalue().startswith("   loaded (")
    assert file.getvalue().count("\n") == 1
    assert file.getvalue().strip().isprintable()
