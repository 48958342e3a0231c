"""The parts of the workload that need no server."""

import random
from collections import Counter
from itertools import islice

from exporter.demo import nova
from exporter.demo.workload import KINDS, Kind, operations, summarize


def test_latencies_are_count_median_and_95th_percentile_of_each_kind() -> None:
    records: list[tuple[Kind, float]] = [("feed", float(number)) for number in range(101)]
    records += [("message_history", 0.25)]

    history, feed = summarize(records)

    assert (history.kind, history.count) == ("message_history", 1)
    assert (history.median_seconds, history.p95_seconds) == (0.25, 0.25)
    assert (feed.kind, feed.count) == ("feed", 101)
    assert (feed.median_seconds, feed.p95_seconds) == (50.0, 95.0)


def test_a_second_run_asks_the_same_in_the_same_order() -> None:
    first = list(islice(operations(800, random.Random(7)), 500))
    second = list(islice(operations(800, random.Random(7)), 500))

    assert first == second
    assert {kind for kind, _ in first} == set(KINDS)


def test_few_users_are_asked_for_often_and_most_rarely() -> None:
    users = 1000
    asked = Counter(
        parameters["user_id"] for _, parameters in islice(operations(users, random.Random(1)), 10_000)
    )
    existing = {nova.user_id(rank) for rank in range(users)}
    heaviest = {nova.user_id(rank) for rank in range(users // 100)}

    assert set(asked) <= existing
    # (1/100) ** (1/3) = 0.215
    assert 0.15 < sum(asked[user] for user in heaviest) / asked.total() < 0.28


def test_the_size_keeps_the_default_proportions() -> None:
    assert nova.nova_size(messages=500_000) == nova.NovaSize(20_000, 500_000, 200_000)
    assert nova.nova_size(messages=1000).posts == 400
    assert nova.nova_size(messages=10).users == nova.FEWEST_USERS
