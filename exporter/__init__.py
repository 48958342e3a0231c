"""Prometheus exporter and alerting sidecar for PostgreSQL indexes."""

__version__ = "0.1.0"
