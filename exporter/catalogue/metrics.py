"""The metric table as data: name, type, labels, help and source of every metric.

Pages, README, alerts and dashboards are checked against this table. `field` names the attribute of the
row that holds the value; a row whose value is None has no sample.
"""

from __future__ import annotations

from exporter.catalogue.exporter import EXPORTER_METRICS
from exporter.catalogue.indexes import BUILD_METRICS, DECLARED_METRICS, INDEX_METRICS
from exporter.catalogue.statements import STATEMENT_METRICS
from exporter.catalogue.tables import TABLE_METRICS
from exporter.catalogue.targets import TARGET_METRICS

METRICS = (
    *INDEX_METRICS,
    *DECLARED_METRICS,
    *BUILD_METRICS,
    *TABLE_METRICS,
    *STATEMENT_METRICS,
    *TARGET_METRICS,
    *EXPORTER_METRICS,
)

# Published by the process collector of prometheus_client; documented here, rendered there.
PROCESS_METRICS = (
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
)

# The collector that lists databases for patterns; its datname is the database that it asks.
DISCOVERY = "databases"
COLLECTORS = (
    *("server", "indexes", "tables", "builds", "journal", "epoch"),
    *("statements", "locks", "sizes", "definitions"),
)
