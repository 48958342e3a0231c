"""Log lines of collections: a state that changed, once, and every collection at level debug."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from exporter.catalogue.metrics import DISCOVERY
from exporter.metrics.snapshot import CollectorOutcome, DatabaseSnapshot, TargetSnapshot

logger = logging.getLogger(__name__)

# Asked first, so its reason is the best one if a database does not answer.
FIRST_COLLECTOR = "server"


class StateLog:
    """Logs when a database of one target stops or resumes answering, and a collector fails or recovers."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._known: frozenset[str] = frozenset()
        self._down: frozenset[str] = frozenset()
        self._failing: frozenset[tuple[str, str]] = frozenset()

    def observe(self, snapshot: TargetSnapshot, *, was_cut: bool) -> None:
        """Log what changed since the last collection.

        A collection that was cut before its deadline, because no scrape waited for it, says nothing of the
        databases.
        """
        if logger.isEnabledFor(logging.DEBUG):
            self._log_collection(snapshot, was_cut)
        if not was_cut:
            self._log_changes(snapshot)

    def _log_collection(self, snapshot: TargetSnapshot, was_cut: bool) -> None:
        extra = {
            "target": self._target,
            "up": snapshot.up,
            "cut": was_cut,
            "duration_seconds": round(snapshot.scrape_duration_seconds, 6),
            "failed": [
                *(
                    f"{snapshot.maintenance_datname}/{outcome.collector}"
                    for outcome in _undiscovered(snapshot)
                ),
                *(name for database in snapshot.databases for name in _failed(database)),
            ],
        }
        logger.debug("collected", extra=extra)

    def _log_changes(self, snapshot: TargetSnapshot) -> None:
        down, failing = set(), set()
        if snapshot.discovery is not None:
            asked = snapshot.maintenance_datname
            failing |= {(asked, outcome.collector) for outcome in _undiscovered(snapshot)}
            self._log_outcome(asked, snapshot.discovery)
            self._log_names(frozenset(database.datname for database in snapshot.databases))
        for database in snapshot.databases:
            datname = database.datname
            if not database.up:
                down.add(datname)
                # What failed before still does, as far as is known.
                failing |= {key for key in self._failing if key[0] == datname and key[1] != DISCOVERY}
                self._log_answer(database)
                continue
            failing |= {(datname, outcome.collector) for outcome in _failures(database)}
            self._log_answer(database)
            for outcome in database.outcomes:
                self._log_outcome(datname, outcome)
        self._down, self._failing = frozenset(down), frozenset(failing)

    def _log_answer(self, database: DatabaseSnapshot) -> None:
        was_down = database.datname in self._down
        extra: dict[str, object] = {"target": self._target, "datname": database.datname}
        if not database.up and not was_down:
            logger.warning("database does not answer", extra={**extra, **_reason(database)})
        elif database.up and was_down:
            logger.info("database answers again", extra=extra)

    def _log_names(self, names: frozenset[str]) -> None:
        """Log the databases that the server has and had not before, or the other way round."""
        for datname in sorted(names - self._known):
            logger.info("database discovered", extra={"target": self._target, "datname": datname})
        for datname in sorted(self._known - names):
            logger.info("database gone", extra={"target": self._target, "datname": datname})
        self._known = names

    def _log_outcome(self, datname: str, outcome: CollectorOutcome) -> None:
        was_failing = (datname, outcome.collector) in self._failing
        extra: dict[str, object] = {
            "target": self._target,
            "datname": datname,
            "collector": outcome.collector,
        }
        if not outcome.success and not was_failing:
            logger.warning("collector failed", extra={**extra, "reason": outcome.reason or ""})
        elif outcome.success and was_failing:
            logger.info("collector works again", extra=extra)


def _undiscovered(snapshot: TargetSnapshot) -> list[CollectorOutcome]:
    """The outcome of asking for databases, if it failed."""
    return [] if snapshot.discovery is None or snapshot.discovery.success else [snapshot.discovery]


def _failures(database: DatabaseSnapshot) -> Iterator[CollectorOutcome]:
    return (outcome for outcome in database.outcomes if not outcome.success)


def _failed(database: DatabaseSnapshot) -> list[str]:
    """The database when it is down, else each of its collectors that failed."""
    if not database.up:
        return [database.datname]
    return [f"{database.datname}/{outcome.collector}" for outcome in _failures(database)]


def _reason(database: DatabaseSnapshot) -> dict[str, object]:
    failures = sorted(_failures(database), key=lambda outcome: outcome.collector != FIRST_COLLECTOR)
    if not failures:
        return {"reason": "the connection was lost"}
    first = failures[0]
    hint = {} if first.hint is None else {"hint": first.hint}
    return {"reason": first.reason or "", **hint}
