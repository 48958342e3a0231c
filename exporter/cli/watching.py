"""Flags for what a run does about sessions that it waits for and sessions that wait for it."""

from __future__ import annotations

import argparse

from exporter.cli.options import add_setting_flags


def add_watching(parser: argparse.ArgumentParser) -> None:
    """Add the flags of budgets and policies."""
    group = parser.add_argument_group(
        "sessions in the way",
        "A policy acts only on sessions that match every kind of --only-… given. It never touches "
        "autovacuum, replication or the tool's own sessions.",
    )
    add_setting_flags(
        group,
        "quiesce_seconds",
        "table_budget_seconds",
        "writers_budget_seconds",
        "snapshots_budget_seconds",
        "on_blocker",
        "blocker_limit_seconds",
        "on_waiter",
        "waiter_limit_seconds",
        "only_application",
        "only_user",
        "only_database",
    )
