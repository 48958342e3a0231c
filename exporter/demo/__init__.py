"""The whole product at once: an embedded PostgreSQL, the Nova schema and a workload."""
