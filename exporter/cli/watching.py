"""Flags for what a run does about sessions that it waits for and sessions that wait for it."""

from __future__ import annotations

import argparse

from exporter.cli.options import setting

_BUDGETS = {
    "quiesce_seconds": (
        "how long a build waits before it begins for old transactions that would hold it up later, default 30"
    ),
    "table_budget_seconds": (
        "give a build up that waited so long for its table, default 600; 0 is without end, here and below"
    ),
    "writers_budget_seconds": "… for transactions that write to the table, default 600",
    "snapshots_budget_seconds": "… at its end for old snapshots, default 3600",
}


def add_watching(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of budgets and policies."""
    group = parser.add_argument_group(
        "sessions in the way",
        "Only sessions that match every kind of --only-… given are ever touched; never autovacuum, "
        "replication or this tool's own.",
    )
    for name, text in _BUDGETS.items():
        _add_seconds(group, name, text)
    setting(
        group,
        "--on-blocker",
        "on_blocker",
        metavar="POLICY",
        help="what is done with sessions that are waited for, once the limit has passed: wait (default), "
        "cancel or terminate",
    )
    _add_seconds(group, "blocker_limit_seconds", "… this limit, default 300")
    setting(
        group,
        "--on-waiter",
        "on_waiter",
        metavar="POLICY",
        help="what is done when a session queues behind a build that stops its readers or will end it: "
        "wait and say so (default), yield (give the build up and try again), or cancel the session",
    )
    _add_seconds(group, "waiter_limit_seconds", "how long it may queue before that, default 3")
    for kind in ("application", "user", "database"):
        setting(
            group,
            f"--only-{kind}",
            f"only_{kind}",
            action="append",
            metavar="PATTERN",
            help=f"shell pattern over the {kind} of sessions that may be touched; may be repeated",
        )


def _add_seconds(group: argparse._ArgumentGroup, name: str, text: str) -> None:
    setting(group, "--" + name.replace("_", "-"), name, metavar="SECONDS", help=text)
