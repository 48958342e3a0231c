"""TargetSnapshot -> page: pure, family by family in the catalogue's order.

prometheus_client needs 40 microseconds a sample because it sorts, checks and escapes every label of every
sample. Here label blocks are built once and kept from page to page, and so are whole families that did not
change (`columns`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from exporter.catalogue.exporter import EXPORTER_METRICS
from exporter.catalogue.metric import COLLECTOR, Metric
from exporter.catalogue.metrics import METRICS
from exporter.catalogue.targets import TARGET_METRICS
from exporter.metrics.exposition.columns import Column, ColumnCache, lines, texts_of
from exporter.metrics.exposition.labels import LabelBlocks, label_block
from exporter.metrics.exposition.page import PageFormat
from exporter.metrics.exposition.samples import DatabaseSamples, Sample, Samples
from exporter.metrics.exposition.segment import Segment
from exporter.metrics.snapshot import DatabaseSnapshot, ExporterFacts, TargetSnapshot

# Fewer than these are written and compressed together with their neighbours.
SEGMENT_LINES = 100


class RenderCache:
    """What a page takes over from those before it, for one target."""

    def __init__(self) -> None:
        self.blocks = LabelBlocks()
        self.columns = ColumnCache()

    def end_page(self) -> None:
        """Forgets what is no longer used."""
        self.blocks.end_page()
        self.columns.end_page()


def render(snapshot: TargetSnapshot, page_format: PageFormat, cache: RenderCache) -> tuple[Segment, ...]:
    """The families of one target, without the mark that ends an OpenMetrics page."""
    databases = [DatabaseSamples(database, cache.blocks, cache.columns) for database in snapshot.databases]
    wide = _target_wide(snapshot)
    segments: list[Segment] = []
    parts: list[str] = []
    for metric in METRICS:
        columns = [column for database in databases if (column := database.column(metric)) is not None]
        if not columns:
            per_database = chain.from_iterable(database.family(metric) for database in databases)
            _append_family(parts, metric, chain(wide.get(metric.name, ()), per_database), page_format)
            continue
        found, few = _written(metric.name, columns, cache.columns)
        if found or few:
            parts += _header(metric, page_format)
        if found:
            segments += (cache.columns.between("".join(parts)), *found)
            parts = []
        parts += few
    cache.end_page()
    return (*segments, Segment.of("".join(parts).encode()))


def prepare(database: DatabaseSnapshot, cache: RenderCache) -> None:
    """Write the wide families of figures ahead, so that the next page only has to include them.

    The rest of the snapshot may not be known yet.
    """
    samples = DatabaseSamples(database, cache.blocks, cache.columns)
    for metric in filter(samples.has_figures, METRICS):
        column = samples.column(metric)
        if column is not None and len(column.rows) >= SEGMENT_LINES:
            cache.columns.segment(metric.name, [column])


def _written(name: str, columns: Sequence[Column], cache: ColumnCache) -> tuple[list[Segment], list[str]]:
    """The lines of a family: of each large database by itself, of the small ones together."""
    small = [column for column in columns if len(column.rows) < SEGMENT_LINES]
    groups = [[column] for column in columns if len(column.rows) >= SEGMENT_LINES]
    few: list[str] = []
    if sum(len(column.rows) for column in small) >= SEGMENT_LINES:
        groups.append(small)
    else:
        for column in small:
            values = column.values()
            few += lines(name, column.labels(), texts_of(values))
    found = (cache.segment(name, group) for group in groups)
    return [segment for segment in found if segment is not None], few


def render_exporter(facts: ExporterFacts, page_format: PageFormat) -> bytes:
    """The families about the exporter itself."""
    parts: list[str] = []
    for metric in EXPORTER_METRICS:
        block = label_block(metric.labels, [getattr(facts, name) for name in metric.labels])
        value = 1 if metric.kind == "info" else getattr(facts, metric.field)
        _append_family(parts, metric, [(block, value)], page_format)
    return "".join(parts).encode()


def _append_family(parts: list[str], metric: Metric, samples: Samples, page_format: PageFormat) -> None:
    name = metric.name
    # `+value` makes a number of a bool; an int stays exact, a float's text reads back as itself.
    lines = [f"{name}{block} {+value}\n" for block, value in samples if value is not None]
    if not lines:
        return
    parts += _header(metric, page_format)
    parts += lines


def _header(metric: Metric, page_format: PageFormat) -> list[str]:
    text = metric.help_text.replace("\\", "\\\\").replace("\n", "\\n")
    if page_format is PageFormat.TEXT:
        kind = "counter" if metric.kind == "counter" else "gauge"
        return [f"# HELP {metric.name} {text}\n", f"# TYPE {metric.name} {kind}\n"]
    family = metric.name.removesuffix({"counter": "_total", "info": "_info"}.get(metric.kind, ""))
    quoted = text.replace('"', '\\"')
    unit = [f"# UNIT {family} {metric.unit}\n"] if metric.unit else []
    return [f"# TYPE {family} {metric.kind}\n", *unit, f"# HELP {family} {quoted}\n"]


def _target_wide(snapshot: TargetSnapshot) -> dict[str, list[Sample]]:
    """The samples that a target has once, by family; facts are from the first database that knows them."""
    found: dict[str, list[Sample]] = {
        "pg_index_exporter_target_up": [("", snapshot.up)],
        "pg_index_exporter_scrape_duration_seconds": [("", snapshot.scrape_duration_seconds)],
        "pg_index_exporter_databases_cut": [("", snapshot.databases_cut)],
    }
    if snapshot.discovery is not None:
        outcome = snapshot.discovery
        block = label_block(COLLECTOR, (outcome.collector, snapshot.maintenance_datname))
        for metric in TARGET_METRICS:
            if metric.labels == COLLECTOR:
                found[metric.name] = [(block, getattr(outcome, metric.field))]
    for database in snapshot.databases:
        facts, info = database.facts, database.statements_info
        if facts is not None and facts.system_identifier is not None:
            identity = (facts.system_identifier, facts.server_version)
            block = label_block(("system_identifier", "version"), identity)
            found.setdefault("pg_system_info", [(block, 1)])
        if facts is not None:
            found.setdefault("pg_in_recovery", [("", facts.in_recovery)])
            found.setdefault("pg_stat_replication_walsenders", [("", database.walsenders)])
        if info is not None:
            found.setdefault("pg_stat_statements_dealloc_total", [("", info.dealloc)])
            reset = "pg_stat_statements_stats_reset_timestamp_seconds"
            found.setdefault(reset, [("", info.stats_reset)])
    return found
