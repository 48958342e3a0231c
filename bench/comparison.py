"""All contenders in one interleaved run: the same movement of the statistics before each round."""

from __future__ import annotations

import math
import re
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

from bench.contenders import Contender
from bench.database import BenchServer, Database
from bench.facts import ALL_FACTS, OURS_ALONE
from bench.scraper import Labels, Scrape, ScrapeFailed

# What a program still does after its answer, such as collecting garbage, is its own cost and nobody else's.
SETTLE_SECONDS = 0.2
WARM_UP_ROUNDS = 2
SERVER_LABEL = "server"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one scrape took, the database included; a lost one took for ever. Units: seconds."""

    seconds: float
    cpu_seconds: float
    execution_seconds: float


@dataclass(frozen=True, slots=True)
class Costs:
    """The scrapes of one contender in one run."""

    scrapes: tuple[Cost, ...]

    @property
    def seconds(self) -> float:
        """The median time of a scrape."""
        return statistics.median(cost.seconds for cost in self.scrapes)

    @property
    def lost(self) -> int:
        """How many came too late or lacked an index."""
        return sum(math.isinf(cost.seconds) for cost in self.scrapes)

    @property
    def cpu_seconds(self) -> float:
        """The median processor time of a scrape."""
        return statistics.median(cost.cpu_seconds for cost in self.scrapes)

    @property
    def execution_seconds(self) -> float:
        """The median time that the database executed for a scrape."""
        return statistics.median(cost.execution_seconds for cost in self.scrapes)


def compare(
    server: BenchServer,
    database: Database,
    contenders: Mapping[str, Contender],
    share: float,
    rounds: int,
) -> dict[str, Costs]:
    """What each contender's scrapes cost when `share` of the indexes moved since its last one."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(-WARM_UP_ROUNDS, rounds):
        database.move(share)
        # Each comes first as often as the others.
        first = number % len(names)
        for name in names[first:] + names[:first]:
            cost = _measure(server, contenders[name])
            if number >= 0:
                costs[name].append(cost)
    return {name: Costs(tuple(scrapes)) for name, scrapes in costs.items()}


def _measure(server: BenchServer, contender: Contender) -> Cost:
    cpu, execution = contender.cpu_seconds(), server.execution_seconds(contender.role)
    try:
        seconds = contender.scrape()
    except ScrapeFailed:
        seconds = math.inf
    time.sleep(SETTLE_SECONDS)
    return Cost(
        seconds,
        contender.cpu_seconds() - cpu,
        server.execution_seconds(contender.role) - execution,
    )


def check_same_facts(ours: Scrape, peer: Scrape) -> int:
    """How many samples both pages have, every one with the same labels and value.

    Raises: AssertionError naming the first family that differs.
    """
    found, expected, samples = ours.families(), peer.families(), 0
    for facts in ALL_FACTS:
        for name, metric in facts.peer_families.items():
            mine = found.get(metric.name, {})
            theirs = _comparable(expected.get(name, {}))
            if metric.field in OURS_ALONE:
                theirs = {labels: mine.get(labels, value) for labels, value in theirs.items()}
            if mine != theirs:
                raise AssertionError(
                    f"{metric.name} differs from the peer's {name}: {len(mine)} and {len(theirs)} samples, "
                    f"such as {next(iter(mine.items() ^ theirs.items()))}"
                )
            samples += len(mine)
    return samples


def check_moved(before: Scrape, moved: int, after: Scrape, family: str) -> None:
    """Raises AssertionError unless exactly so many samples of the family differ between the pages."""
    changed = len(_lines(after, family) - _lines(before, family))
    if changed != moved:
        raise AssertionError(f"{moved} indexes moved, {changed} samples of {family} changed")


def _lines(page: Scrape, family: str) -> set[bytes]:
    return set(re.findall(rb"^%s\{.*$" % family.encode(), page.text(), re.MULTILINE))


def _comparable(samples: Mapping[Labels, float]) -> dict[Labels, float]:
    """Without the label that the peer adds, and without NaN, which it says for NULL where we say nothing."""
    return {
        frozenset(pair for pair in labels if pair[0] != SERVER_LABEL): value
        for labels, value in samples.items()
        if not math.isnan(value)
    }
