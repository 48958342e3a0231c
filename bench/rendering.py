"""How long a page of many indexes takes: rendered and compressed, and by prometheus_client for comparison.

`python -m bench.rendering --indexes 10000`. Figures are of this machine at this moment: compare ratios.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import TypeVar

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from exporter.metrics.exposition import segment
from exporter.metrics.exposition.page import PageFormat
from exporter.metrics.exposition.render import RenderCache, render
from exporter.metrics.snapshot import DatabaseSnapshot, TargetSnapshot, Watched
from exporter.postgres.counters.figures import Value
from exporter.postgres.counters.indexes import IndexRow

REPEATS = 5
INDEXES_PER_TABLE = 5

Result = TypeVar("Result")


class Parsed(Collector):
    """A page's own families, as prometheus_client's renderer takes them."""

    def __init__(self, page: bytes) -> None:
        self._families = list(text_string_to_metric_families(page.decode()))

    def collect(self) -> list[Metric]:
        """The families."""
        return self._families


def snapshot(count: int) -> TargetSnapshot:
    """A target of one database with so many watched indexes, all with counters and sizes."""
    rows = tuple(index_row(number) for number in range(count))
    sizes = {row.indexrelid: 8192 * row.indexrelid for row in rows}
    database = DatabaseSnapshot("nova", True, (), (), indexes=Watched(rows, figures(count)), sizes=sizes)
    return TargetSnapshot("default", (database,), 0.1)


def index_row(number: int) -> IndexRow:
    table = number // INDEXES_PER_TABLE
    return IndexRow(
        indexrelid=100_000 + number,
        relid=50_000 + table,
        schemaname="public",
        relname=f"messages_{table:05d}",
        indexname=f"idx_messages_{table:05d}_sender_created_{number:06d}",
        indisvalid=True,
        indisready=True,
        method="btree",
        indisunique=False,
        indisprimary=False,
        contype=None,
        is_partial=True,
        is_expression=False,
        catalogue_version="1",
    )


def figures(count: int) -> dict[str, list[Value]]:
    return {
        "idx_scan": [number * 7 for number in range(count)],
        "idx_tup_read": [number * 70 for number in range(count)],
        "idx_tup_fetch": [number * 35 for number in range(count)],
        "last_idx_scan": [1.7e9 + number for number in range(count)],
        "idx_blks_read": list(range(count)),
        "idx_blks_hit": [number * 50 for number in range(count)],
    }


def moved(target: TargetSnapshot) -> TargetSnapshot:
    """The target when every counter has moved."""
    (database,) = target.databases
    assert database.indexes is not None
    columns = {
        column: [value + 1 for value in values if value is not None]
        for column, values in database.indexes.figures.items()
    }
    indexes = Watched(database.indexes.rows, columns)
    return replace(target, databases=(replace(database, indexes=indexes),))


def measured(what: str, run: Callable[[], Result]) -> Result:
    """The result; prints the median time of several runs."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    print(f"{what:<58} {statistics.median(seconds) * 1000:9.1f} ms")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rendering", description=__doc__)
    parser.add_argument("--indexes", type=int, default=10_000, help="watched indexes (default 10000)")
    count: int = parser.parse_args().indexes
    target = snapshot(count)
    cache = RenderCache()
    states = cycle((moved(target), target))

    measured("first page", lambda: render(target, PageFormat.TEXT, RenderCache()))
    measured("next page, all counters moved", lambda: render(next(states), PageFormat.TEXT, cache))
    segments = measured("next page, nothing moved", lambda: render(target, PageFormat.TEXT, cache))
    page = b"".join(segment.text(segments, 1 << 20))
    registry = CollectorRegistry()
    registry.register(Parsed(page))
    measured("the same page by prometheus_client", lambda: generate_latest(registry))
    lines = sum(not line.startswith(b"#") for line in page.splitlines())
    print(f"{count} indexes, {lines} samples, {len(page)} bytes, {segment.gzip_length(segments)} compressed")


if __name__ == "__main__":
    main()
