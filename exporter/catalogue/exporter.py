"""Metrics of the exporter itself."""

from __future__ import annotations

from exporter.catalogue.metric import Metric

EXPORTER_METRICS = (
    Metric(
        "pg_index_exporter_build_info",
        "info",
        ("version", "python_version"),
        "Version of this exporter, constant 1.",
        "exporter",
        "exporter",
        "build",
    ),
    Metric(
        "pg_index_exporter_config_last_reload_successful",
        "gauge",
        (),
        "1 when the current settings, manifests, secrets and web configuration are in use, 0 when they "
        "are invalid and the last valid ones are in use.",
        "exporter",
        "exporter",
        "config_is_current",
    ),
    Metric(
        "pg_index_exporter_config_last_reload_success_timestamp_seconds",
        "gauge",
        (),
        "Time at which settings, manifests, secrets and web configuration were last valid.",
        "exporter",
        "exporter",
        "config_last_success",
        unit="seconds",
    ),
)
