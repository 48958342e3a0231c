"""The effect of a drop on the standbys of the server: queries there may use the index.

Reads the standbys that the settings name; the usage on others is unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import psycopg

from exporter.errors import ExporterError
from exporter.model import Database, Finding, ObservedIndex, Verdict
from exporter.postgres.fetching import read_facts
from exporter.postgres.relations.dependents import DroppedIndexFacts, read_dropped_index_facts
from exporter.postgres.server.statistics import read_walsenders
from exporter.postgres.target import Connection, SessionLimits, address, connect

_SERVER = "the server"
_SIBLING_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Standby:
    """A standby of this server that the settings name, and the scans there by indexrelid."""

    address: str
    scans: Mapping[int, DroppedIndexFacts]


def check_standbys(
    connection: Connection, indexes: Sequence[ObservedIndex], siblings: Sequence[Database]
) -> Iterator[Finding]:
    """Whether queries on standbys use the indexes, and the effect of the drop there."""
    if not indexes:
        return
    streaming = read_walsenders(connection).walsenders
    oids = [index.indexrelid for index in indexes if index.indexrelid is not None]
    known = _read_standbys(read_facts(connection).system_identifier, oids, siblings)
    for index in indexes:
        yield standby_usage(index, streaming, known)
    if streaming or known:
        yield Finding(
            "replay on standbys",
            _SERVER,
            Verdict.WARN,
            "replays_drop",
            "a standby replays the drop with an exclusive lock: it waits for queries on the table there, "
            "up to max_standby_streaming_delay, then cancels them",
            "run it when no long queries run on the standbys",
        )


def standby_usage(index: ObservedIndex, streaming: int | None, known: Sequence[Standby]) -> Finding:
    """Whether queries on standbys use the index, by the standbys that the settings name."""
    criterion, subject = "usage on standbys", index.declared.relation.quoted
    used = [
        f"{facts.idx_scan} scans on {standby.address}"
        for standby in known
        if (facts := standby.scans.get(index.indexrelid or 0)) is not None and facts.idx_scan
    ]
    if used:
        return Finding(
            criterion,
            subject,
            Verdict.WARN,
            "used_on_standby",
            "; ".join(used),
            "find these queries first: they will be planned without it",
        )
    if streaming is None:
        return Finding(
            criterion,
            subject,
            Verdict.UNKNOWN,
            "not_permitted",
            "this role cannot see the standbys",
            "grant pg_read_all_stats to this role",
        )
    if len(known) < streaming:
        return Finding(
            criterion,
            subject,
            Verdict.UNKNOWN,
            "not_asked",
            f"{streaming - len(known)} of {streaming} standbys are not targets in the settings: "
            "queries there may use it",
            "read pg_stat_user_indexes on each, or add them as targets",
        )
    names = ", ".join(standby.address for standby in known)
    found = f"never scanned on {names}" if known else "no standby is connected to this server"
    return Finding(criterion, subject, Verdict.PASS, "not_scanned" if known else "no_standby", found)


def _read_standbys(
    system_identifier: str | None, oids: Collection[int], siblings: Sequence[Database]
) -> list[Standby]:
    """The siblings that are standbys of this server and answer."""
    limits = SessionLimits(
        connect_timeout_seconds=_SIBLING_TIMEOUT_SECONDS, statement_timeout_seconds=_SIBLING_TIMEOUT_SECONDS
    )
    found: list[Standby] = []
    for sibling in siblings:
        try:
            with closing(connect(sibling, limits=limits)) as connection:
                facts = read_facts(connection)
                is_standby = facts.in_recovery and facts.system_identifier == system_identifier
                if is_standby and system_identifier is not None:
                    scans = read_dropped_index_facts(connection, oids)
                    found.append(Standby(address(sibling), scans))
        except (ExporterError, psycopg.Error):
            # The finding counts the standbys that did not answer.
            continue
    return found
