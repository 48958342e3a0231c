"""What must hold, and what is worth knowing, before indexes are dropped.

Asks the server, and its standbys where the settings name them; changes nothing. Any failed finding stops
the rollback before its first step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from exporter.errors import ExporterError
from exporter.migrate.figures import moment
from exporter.model import Database, Finding, ObservedIndex, RelationName, Verdict, quote_identifier
from exporter.postgres.blockers import Blocker, read_drop_blockers
from exporter.postgres.dependents import DroppedIndexFacts, read_dropped_index_facts
from exporter.postgres.journal import CreatedIndex
from exporter.postgres.servers import read_epoch, read_walsenders
from exporter.postgres.target import Connection, SessionLimits, address, connect, read_facts

_SERVER = "the server"
_NAMED_BLOCKERS = 5
_QUERY_CHARACTERS = 60
# Shorter transactions end by themselves before anybody has read about them.
_LONG_SECONDS = 1.0
_SIBLING_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Standby:
    """A standby of this server that the settings name, and the scans there by indexrelid."""

    address: str
    scans: Mapping[int, DroppedIndexFacts]


def check_before_drop(
    connection: Connection,
    indexes: Sequence[ObservedIndex],
    created: Mapping[str, CreatedIndex],
    siblings: Sequence[Database] = (),
) -> tuple[Finding, ...]:
    """Findings about every index that is to be dropped and its table.

    `siblings` are databases of the settings that may be the same one on a standby: they are asked.
    """
    oids = [index.indexrelid for index in indexes if index.indexrelid is not None]
    facts = read_dropped_index_facts(connection, oids)
    counters_since = read_epoch(connection).counters_since
    findings: list[Finding] = []
    for index in indexes:
        found = facts.get(index.indexrelid or 0)
        entry = created.get(index.declared.name)
        if found is None or entry is None:
            continue
        findings.append(_identity(index, entry))
        findings += leaning(index, found)
        findings.append(usage(index, found, entry, counters_since))
    findings += _standbys(connection, [index for index in indexes if index.indexrelid in facts], siblings)
    findings += _blockers(connection, indexes)
    return tuple(findings)


def _identity(index: ObservedIndex, entry: CreatedIndex) -> Finding:
    """Schema, name and definition agree, or it would not be dropped; the oid may have changed."""
    if entry.indexrelid is None:
        found, reason = "by schema, name and definition; its oid was not recorded", "ok"
    elif entry.indexrelid == index.indexrelid:
        found, reason = f"oid {entry.indexrelid}, as it was built", "ok"
    else:
        reason = "rebuilt"
        found = (
            f"oid {index.indexrelid} now, {entry.indexrelid} when it was built: rebuilt since, by REINDEX or "
            "by hand, with the same schema, name and definition"
        )
    return Finding("created by this migration", index.declared.relation.quoted, Verdict.PASS, reason, found)


def leaning(index: ObservedIndex, facts: DroppedIndexFacts) -> Iterator[Finding]:
    """What would break without the index, each with the way to take it off."""
    subject, table = index.declared.relation.quoted, index.declared.table.quoted
    constraint = None if facts.constraint_name is None else quote_identifier(facts.constraint_name)
    yield _judged(
        "ownership",
        "not_owner",
        subject,
        facts.is_owner,
        f"owned by {facts.owner_name}",
        "run as a member of " + quote_identifier(facts.owner_name) + ": only owners drop indexes",
    )
    yield _judged(
        "constraint",
        "constraint",
        subject,
        constraint is None,
        "no constraint is made of it" if constraint is None else f"the constraint {constraint} is made of it",
        f"keep it, or drop the constraint and the index with it: ALTER TABLE {table} DROP CONSTRAINT "
        f"{constraint}",
    )
    yield _judged(
        "foreign keys",
        "referenced",
        subject,
        not facts.referenced_by,
        ", ".join(facts.referenced_by) + " refer to it" if facts.referenced_by else "none refers to it",
        "drop or redirect the foreign keys first",
    )
    yield _judged(
        "replica identity",
        "replica_identity",
        subject,
        not facts.is_replica_identity,
        "it identifies rows for logical replication: UPDATE and DELETE of published tables would fail"
        if facts.is_replica_identity
        else "it is not the table's replica identity",
        f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT, or USING INDEX another",
    )
    yield _judged(
        "partitioned index",
        "attached",
        subject,
        facts.parent is None,
        "it stands alone" if facts.parent is None else f"it is a part of the index {facts.parent}",
        f"drop {facts.parent} instead: a part of it cannot be dropped alone",
    )
    if facts.supports:
        yield Finding(
            "supports foreign keys",
            subject,
            Verdict.WARN,
            "supports_foreign_key",
            f"no other index serves {', '.join(facts.supports)}",
            "without it a DELETE or UPDATE of a referenced row reads the whole table",
        )
    if facts.is_clustered:
        yield Finding(
            "clustered",
            subject,
            Verdict.WARN,
            "clustered",
            "the table is marked to be clustered by it",
            "CLUSTER without USING will fail afterwards: name another index then",
        )


def usage(
    index: ObservedIndex, facts: DroppedIndexFacts, entry: CreatedIndex, counters_since: float | None
) -> Finding:
    """Whether anybody used it since it was built, apart from init's own probes where that can be told."""
    subject = index.declared.relation.quoted
    if facts.idx_scan is None:
        return Finding(
            "usage",
            subject,
            Verdict.UNKNOWN,
            "no_counters",
            "a partitioned index has no counters of its own",
            "look at those of its parts",
        )
    since = max(entry.at, _at(counters_since) or entry.at)
    counted = f"{facts.idx_scan} scans since {moment(since)}"
    if facts.idx_scan == 0:
        return Finding("usage", subject, Verdict.PASS, "not_scanned", f"{counted}, on this server")
    last = _at(facts.last_idx_scan)
    if last is not None:
        counted += f", the last at {moment(last)}"
        if entry.verified_at is not None and last <= entry.verified_at:
            return Finding("usage", subject, Verdict.PASS, "own_probes", f"{counted}, all by init's probes")
    return Finding(
        "usage",
        subject,
        Verdict.WARN,
        "still_used",
        f"{counted}; probes of init and verify count too",
        "queries that use it will be planned without it: look at them first",
    )


# Standbys


def _standbys(
    connection: Connection, indexes: Sequence[ObservedIndex], siblings: Sequence[Database]
) -> Iterator[Finding]:
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
            "choose a moment without long queries on the standbys",
        )


def standby_usage(index: ObservedIndex, streaming: int | None, known: Sequence[Standby]) -> Finding:
    """Whether queries on standbys use the index: known of those that the settings name."""
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
            "queries there will be planned without it: look at them first",
        )
    if streaming is None:
        return Finding(
            criterion,
            subject,
            Verdict.UNKNOWN,
            "not_permitted",
            "this role may not see which standbys there are",
            "GRANT pg_read_all_stats to it",
        )
    if len(known) < streaming:
        return Finding(
            criterion,
            subject,
            Verdict.UNKNOWN,
            "not_asked",
            f"{streaming - len(known)} of {streaming} standbys that stream are no targets of the settings: "
            "queries there may use it",
            "look at pg_stat_user_indexes on each, or name them as targets",
        )
    names = ", ".join(standby.address for standby in known)
    found = f"never scanned on {names}" if known else "no standby streams from this server"
    return Finding(criterion, subject, Verdict.PASS, "not_scanned" if known else "no_standby", found)


def _read_standbys(
    system_identifier: str | None, oids: Collection[int], siblings: Sequence[Database]
) -> list[Standby]:
    """Those of the siblings that are standbys of this server and answer."""
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
            # Not asked is not known: the finding counts who is missing.
            continue
    return found


# Sessions


def _blockers(connection: Connection, indexes: Sequence[ObservedIndex]) -> Iterator[Finding]:
    tables = {index.relid: index.declared.table for index in indexes if index.relid is not None}
    blockers = [one for one in read_drop_blockers(connection, tables) if _is_long(one)]
    for relid, table in tables.items():
        yield blocking(table, [one for one in blockers if one.relid == relid])


def blocking(table: RelationName, blockers: Sequence[Blocker]) -> Finding:
    """Whom a drop on the table would wait for."""
    if not blockers:
        found = "no session holds the table for long"
        return Finding("blockers", table.quoted, Verdict.PASS, "ok", found)
    named = [_named(one) for one in blockers[:_NAMED_BLOCKERS]]
    if len(blockers) > _NAMED_BLOCKERS:
        named.append(f"and {len(blockers) - _NAMED_BLOCKERS} more")
    return Finding(
        "blockers",
        table.quoted,
        Verdict.WARN,
        "blocked",
        "; ".join(named),
        "the drop waits for them without a limit, and no query may use the index meanwhile: wait until they "
        "end, or end them",
    )


def _named(blocker: Blocker) -> str:
    if not blocker.query:
        return blocker.described
    query = " ".join(blocker.query.split())
    cut = query if len(query) <= _QUERY_CHARACTERS else query[: _QUERY_CHARACTERS - 1] + "…"
    return f"{blocker.described}: {cut}"


def _is_long(blocker: Blocker) -> bool:
    """True for whom a person would have to wait; what is not known of a session counts as long."""
    if blocker.is_ours or blocker.gives_way:
        return False
    age = blocker.transaction_age_seconds
    return (
        age is None
        or age >= _LONG_SECONDS
        or blocker.gid is not None
        or (blocker.state or "").startswith("idle in transaction")
    )


def _judged(criterion: str, reason: str, subject: str, holds: bool, found: str, mend: str) -> Finding:
    if holds:
        return Finding(criterion, subject, Verdict.PASS, "ok", found)
    return Finding(criterion, subject, Verdict.FAIL, reason, found, mend)


def _at(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
