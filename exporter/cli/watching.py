"""Flags for what a run does about sessions that it waits for and sessions that wait for it."""

from __future__ import annotations

import argparse
import math

from exporter.errors import SettingsError

_WAIT = "wait"
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
    group.add_argument(
        "--on-blocker",
        choices=("wait", "cancel", "terminate"),
        default=_WAIT,
        help="what is done with sessions that are waited for, once the limit has passed; default wait",
    )
    _add_seconds(group, "blocker_limit_seconds", "… this limit, default 300")
    group.add_argument(
        "--on-victim",
        choices=("wait", "yield", "cancel"),
        default=_WAIT,
        help="what is done when a session queues behind a build that stops its readers or will end it: "
        "wait and say so (default), yield (give the build up and try again), or cancel the session",
    )
    _add_seconds(group, "victim_limit_seconds", "how long it may queue before that, default 3")
    for kind in ("application", "user", "database"):
        group.add_argument(
            f"--only-{kind}",
            action="append",
            default=[],
            metavar="PATTERN",
            help=f"shell pattern over the {kind} of sessions that may be touched; may be repeated",
        )


def _add_seconds(group: argparse._ArgumentGroup, name: str, text: str) -> None:
    group.add_argument("--" + name.replace("_", "-"), type=_seconds, metavar="SECONDS", help=text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError
    return seconds


# What argparse calls it when it is no number: "invalid seconds value".
_seconds.__name__ = "seconds"


def seconds_given(arguments: argparse.Namespace) -> dict[str, float]:
    """The budgets and limits that flags set, by the names of WatchOptions."""
    names = (*_BUDGETS, "blocker_limit_seconds", "victim_limit_seconds")
    given = {name: getattr(arguments, name, None) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def require_patterns(arguments: argparse.Namespace) -> None:
    """Raises: SettingsError for a policy that would touch sessions without saying which."""
    patterns = (*arguments.only_application, *arguments.only_user, *arguments.only_database)
    is_touching = arguments.on_blocker != _WAIT or arguments.on_victim == "cancel"
    if is_touching and not patterns:
        flag = "--on-blocker" if arguments.on_blocker != _WAIT else "--on-victim"
        raise SettingsError(
            f"{flag} would end sessions of others, and it is not said which",
            mend="name them: --only-application, --only-user or --only-database, each a shell pattern; "
            "'*' is everybody",
        )
    if patterns and not is_touching:
        raise SettingsError(
            "--only-… names sessions that may be touched, but nothing touches any",
            mend="add --on-blocker cancel or terminate, or --on-victim cancel",
        )
