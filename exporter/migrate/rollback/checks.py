"""What must hold, and what is worth knowing, before indexes are dropped.

Asks the server, and its standbys where the settings name them; changes nothing. Any failed finding stops
the rollback before its first step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from exporter.migrate.plan.partitions import with_partitions
from exporter.migrate.rollback.standbys import check_standbys
from exporter.model import Database, Finding, ObservedIndex, RelationName, Verdict, quote_identifier
from exporter.postgres.journal import CreatedIndex
from exporter.postgres.relations.dependents import DroppedIndexFacts, read_dropped_index_facts
from exporter.postgres.server.statistics import read_epoch
from exporter.postgres.sessions.blockers import Blocker, read_drop_blockers
from exporter.postgres.target import Connection
from exporter.text.figures import moment

_SERVER = "the server"
_NAMED_BLOCKERS = 5
_QUERY_CHARACTERS = 60
# Shorter transactions end by themselves before anybody has read about them.
_LONG_SECONDS = 1.0
_HINT_CONCURRENT = (
    "the drop waits for them without a limit, and no query may use the index meanwhile: wait until they end, "
    "or end them"
)
_HINT_WHOLE = (
    "the drop needs the table and all its partitions at once, waits a second at a time, and gives up "
    "whole after the budget for locks: wait until they end, or end them"
)
_SIBLING_TIMEOUT_SECONDS = 5.0


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
    findings += check_standbys(
        connection, [index for index in indexes if index.indexrelid in facts], siblings
    )
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


# Sessions


def _blockers(connection: Connection, indexes: Sequence[ObservedIndex]) -> Iterator[Finding]:
    # With the index of a partitioned table those of all its partitions go, and all these are locked.
    whole = {one.relid for root in indexes if root.is_partitioned for one in with_partitions([root])}
    tables = {one.relid: one.declared.table for one in with_partitions(indexes) if one.relid is not None}
    blockers = [one for one in read_drop_blockers(connection, tables) if _is_long(one)]
    for relid, table in tables.items():
        yield blocking(table, [one for one in blockers if one.relid == relid], is_whole=relid in whole)


def blocking(table: RelationName, blockers: Sequence[Blocker], *, is_whole: bool = False) -> Finding:
    """Whom a drop on the table would wait for; `is_whole` where the index of a partitioned table goes."""
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
        _HINT_WHOLE if is_whole else _HINT_CONCURRENT,
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


def _judged(criterion: str, reason: str, subject: str, holds: bool, found: str, hint: str) -> Finding:
    if holds:
        return Finding(criterion, subject, Verdict.PASS, "ok", found)
    return Finding(criterion, subject, Verdict.FAIL, reason, found, hint)


def _at(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
