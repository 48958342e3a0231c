"""What the benchmark makes of what it measured; no test asserts how long anything took."""

import io
import json
import math

import pytest
from rich.console import Console

from bench import figures
from bench.comparison import Cost, Costs
from bench.figures import Figure, megabytes, milliseconds, ratio, seconds, under

FIGURES = [
    *under(
        "case one", [milliseconds("scrape, ours", 0.0123456), ratio("to the floor", 3, 2, "at most", 1.5)]
    ),
    *under(
        "case two",
        [
            ratio("the peer to ours", 9, 1, "at least", 10),
            seconds("of a lost scrape under 300 idle and 50 never-reading clients", math.inf, 1),
            Figure("of the peer", None, "x", "at most", 0.5, note="no peer"),
            megabytes("memory", 61e6, 60),
        ],
    ),
]


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (ratio("", 3, 2, "at most", 1.5), True),
        (ratio("", 3.1, 2, "at most", 1.5), False),
        (ratio("", 10, 1, "at least", 10), True),
        (ratio("", 9, 1, "at least", 10), False),
        (milliseconds("", 0.010, 10), True),
        (milliseconds("", 0.011, 10), False),
        (milliseconds("", 0.011), None),
        (seconds("", math.inf, 1), False),
        (megabytes("", 60e6, 60), True),
        (Figure("", None, "x", "at most", 1), None),
    ],
)
def test_a_target_is_met_or_missed_or_there_is_none(figure: Figure, met: bool | None) -> None:
    assert figure.met is met


def test_the_json_is_a_list_of_figures() -> None:
    found = json.loads(figures.as_json(FIGURES))

    assert found[0] == {
        "name": "case one: scrape, ours",
        "value": 12.35,
        "unit": "ms",
        "target": None,
        "met": None,
    }
    assert found[1] == {
        "name": "case one: to the floor",
        "value": 1.5,
        "unit": "x",
        "target": "at most 1.5",
        "met": True,
    }
    assert (found[3]["value"], found[3]["met"], found[3]["note"]) == (None, False, figures.LOST)
    assert (found[4]["value"], found[4]["met"], found[4]["note"]) == (None, None, "no peer")
    assert all(entry.keys() >= {"name", "value", "unit", "target", "met"} for entry in found)


def test_the_table_fits_a_terminal_and_has_every_figure() -> None:
    output = io.StringIO()

    figures.print_table(FIGURES, Console(file=output, width=80))

    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[-1] for line in lines if "at most" in line or "at least" in line] == [
        *("yes", "no", "no", "0.5", "no"),
    ]
    assert all(figure.case in output.getvalue() for figure in FIGURES)


def test_the_markdown_table_has_a_line_for_each_figure_and_case() -> None:
    lines = figures.as_markdown(FIGURES).splitlines()

    assert lines[2] == "| **case one** | | | |"
    assert lines[4] == "| to the floor | 1.5 x | at most 1.5 | yes |"
    assert len(lines) == 2 + 2 + len(FIGURES)
    assert {line.count("|") for line in lines} == {5}


def test_the_costs_of_a_run_are_medians_and_a_lost_scrape_is_counted() -> None:
    costs = Costs((Cost(3.0, 0.3, 30.0), Cost(math.inf, 0.1, 10.0), Cost(1.0, 0.2, 20.0)))

    assert (costs.seconds, costs.cpu_seconds, costs.execution_seconds, costs.lost) == (3.0, 0.2, 20.0, 1)
