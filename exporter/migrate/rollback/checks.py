"""The checks before indexes are dropped: what forbids the drop, and what it affects.

Reads the server, and its standbys where the settings name them; changes nothing. Any failed finding stops
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

_NAMED_BLOCKERS = 5
# Shorter transactions end before a person has read about them.
_LONG_SECONDS = 1.0
_HINT_CONCURRENT = (
    "wait until they end, or end them: the drop waits for them without a limit, and queries cannot use the "
    "index meanwhile"
)
_HINT_WHOLE = (
    "wait until they end, or end them: the drop locks the table and all its partitions at once, waits a "
    "second at a time, and fails as a whole after the lock budget"
)


def check_before_drop(
    connection: Connection,
    indexes: Sequence[ObservedIndex],
    created: Mapping[str, CreatedIndex],
    siblings: Sequence[Database] = (),
) -> tuple[Finding, ...]:
    """Findings about every index that is to be dropped and its table.

    `siblings` are databases of the settings that may be the same one on a standby: they are read too.
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
        findings += check_dependents(index, found)
        findings.append(usage(index, found, entry, counters_since))
    findings += check_standbys(
        connection, [index for index in indexes if index.indexrelid in facts], siblings
    )
    findings += _blockers(connection, indexes)
    return tuple(findings)


def _identity(index: ObservedIndex, entry: CreatedIndex) -> Finding:
    """That schema, name and definition agree, as the plan requires; the oid may have changed."""
    if entry.indexrelid is None:
        found, reason = "by schema, name and definition; its oid is not recorded", "ok"
    elif entry.indexrelid == index.indexrelid:
        found, reason = f"oid {entry.indexrelid}, as it was built", "ok"
    else:
        reason = "rebuilt"
        found = (
            f"oid {index.indexrelid} now, {entry.indexrelid} when it was built: rebuilt since, by REINDEX or "
            "by hand, with the same schema, name and definition"
        )
    return Finding("created by this migration", index.declared.relation.quoted, Verdict.PASS, reason, found)


def check_dependents(index: ObservedIndex, facts: DroppedIndexFacts) -> Iterator[Finding]:
    """What depends on the index and would break or degrade without it."""
    subject, table = index.declared.relation.quoted, index.declared.table.quoted
    constraint = None if facts.constraint_name is None else quote_identifier(facts.constraint_name)
    yield _judged(
        "ownership",
        "not_owner",
        subject,
        facts.is_owner,
        f"owned by {facts.owner_name}; only an owner can drop indexes"
        if not facts.is_owner
        else f"owned by {facts.owner_name}",
        "connect as a member of " + quote_identifier(facts.owner_name),
    )
    yield _judged(
        "constraint",
        "constraint",
        subject,
        constraint is None,
        "no constraint uses it" if constraint is None else f"the constraint {constraint} uses it",
        f"keep it, or drop both: ALTER TABLE {table} DROP CONSTRAINT {constraint}",
    )
    yield _judged(
        "foreign keys",
        "referenced",
        subject,
        not facts.referenced_by,
        ", ".join(facts.referenced_by) + " reference it" if facts.referenced_by else "none references it",
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
        f"choose another replica identity: ALTER TABLE {table} REPLICA IDENTITY DEFAULT",
    )
    yield _judged(
        "partitioned index",
        "attached",
        subject,
        facts.parent is None,
        "it is attached to no index"
        if facts.parent is None
        else f"it is attached to the index {facts.parent}",
        f"drop {facts.parent} instead: an attached index cannot be dropped alone",
    )
    if facts.supports:
        yield Finding(
            "supports foreign keys",
            subject,
            Verdict.WARN,
            "supports_foreign_key",
            f"no other index supports {', '.join(facts.supports)}: without it a DELETE or UPDATE of a "
            "referenced row reads the whole table",
            "create another index on these columns first",
        )
    if facts.is_clustered:
        yield Finding(
            "clustered",
            subject,
            Verdict.WARN,
            "clustered",
            "the table is clustered on it: CLUSTER without USING fails without it",
            "name another index in CLUSTER",
        )


def usage(
    index: ObservedIndex, facts: DroppedIndexFacts, entry: CreatedIndex, counters_since: float | None
) -> Finding:
    """Whether queries used it since it was built, without init's own probes where they can be excluded."""
    subject = index.declared.relation.quoted
    if facts.idx_scan is None:
        return Finding(
            "usage",
            subject,
            Verdict.UNKNOWN,
            "no_counters",
            "a partitioned index has no counters of its own",
            "read those of its partitions' indexes",
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
        "find the queries that use it first: they will be planned without it",
    )


# Sessions


def _blockers(connection: Connection, indexes: Sequence[ObservedIndex]) -> Iterator[Finding]:
    # The index of a partitioned table is dropped with those of its partitions, and all of them are locked.
    whole = {one.relid for root in indexes if root.is_partitioned for one in with_partitions([root])}
    tables = {one.relid: one.declared.table for one in with_partitions(indexes) if one.relid is not None}
    blockers = [one for one in read_drop_blockers(connection, tables) if _is_long(one)]
    for relid, table in tables.items():
        yield check_table_blockers(
            table, [one for one in blockers if one.relid == relid], is_whole=relid in whole
        )


def check_table_blockers(
    table: RelationName, blockers: Sequence[Blocker], *, is_whole: bool = False
) -> Finding:
    """The sessions that a drop on the table would wait for; `is_whole` for a partitioned table's index."""
    if not blockers:
        found = "no long-running session uses the table"
        return Finding("blockers", table.quoted, Verdict.PASS, "ok", found)
    # Without constants: they are values of rows.
    named = [one.described for one in blockers[:_NAMED_BLOCKERS]]
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


def _is_long(blocker: Blocker) -> bool:
    """True for sessions that last; an unknown age counts as long."""
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
