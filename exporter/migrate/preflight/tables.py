"""Tables: kind, owner, the role's rights on them, leftover indexes, transaction age. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from exporter.migrate.observe.table_kinds import why_not_analyzed, why_unfit
from exporter.migrate.preflight.findings import DATABASE, TABLE_KIND, failed, passed, unknown, warned
from exporter.model import DeclaredIndex, Finding, RelationName, quote_identifier
from exporter.postgres.relations.partitions import Partition
from exporter.postgres.relations.tables import TableFacts, TableIndex
from exporter.postgres.server.storage import StorageFacts, TableAge, TablespaceFacts, WraparoundFacts

_KINDS = {"r": "an ordinary table", "p": "a partitioned table", "m": "a materialized view"}


def check_kind(table: RelationName, facts: TableFacts | None) -> Finding:
    """Whether the relation can have an index."""
    unfit = why_unfit(table, facts)
    if unfit is not None:
        reason = "no_table" if facts is None else "not_a_table"
        return failed(TABLE_KIND, table.quoted, reason, *unfit)
    return passed(TABLE_KIND, table.quoted, "" if facts is None else _KINDS[facts.relkind])


def check_analyzed_kind(table: RelationName, facts: TableFacts | None) -> Finding:
    """Whether the relation can be analyzed."""
    unfit = why_not_analyzed(table, facts)
    if unfit is not None:
        reason = "no_table" if facts is None else "not_a_table"
        return failed(TABLE_KIND, table.quoted, reason, *unfit)
    return passed(TABLE_KIND, table.quoted, "can be analyzed")


def check_built_on(table: RelationName, facts: TableFacts, usename: str) -> Iterator[Finding]:
    """Whether the role may build an index on the table: it must own it, and have CREATE on its schema."""
    subject = table.quoted
    if facts.is_owner:
        yield passed("ownership", subject, f"owned by {facts.owner_name}")
    else:
        yield _not_owned(subject, facts, usename)
    if facts.may_create:
        yield passed("create in schema", subject, "CREATE on the schema is granted")
    else:
        yield _no_create(subject, table.schemaname, usename)


def check_partition(partition: Partition, usename: str) -> Iterator[Finding]:
    """One finding for each right that the role lacks to build an index on the partition."""
    subject = partition.name.quoted
    if not partition.is_owner:
        yield _not_owned(subject, partition, usename)
    if not partition.may_create:
        yield _no_create(subject, partition.schemaname, usename)


def check_analyzed(table: RelationName, facts: TableFacts, usename: str) -> Finding:
    """Whether the role may analyze the table; the server skips others with a warning."""
    if facts.may_analyze:
        return passed("may analyze", table.quoted, f"owned by {facts.owner_name}")
    found = f"owned by {facts.owner_name}: the server would skip it with a warning"
    return failed("may analyze", table.quoted, "not_owner", found, _owner_hint(table.quoted, facts, usename))


def _not_owned(subject: str, facts: TableFacts | Partition, usename: str) -> Finding:
    found = f"owned by {facts.owner_name}; only an owner can create indexes"
    return failed("ownership", subject, "not_owner", found, _owner_hint(subject, facts, usename))


def _owner_hint(subject: str, facts: TableFacts | Partition, usename: str) -> str:
    # Membership in a superuser would give the builder every right on the server.
    if facts.owner_is_superuser:
        return f"ALTER TABLE {subject} OWNER TO {usename}"
    return f"GRANT {quote_identifier(facts.owner_name)} TO {usename}"


def _no_create(subject: str, schemaname: str, usename: str) -> Finding:
    return failed(
        "create in schema",
        subject,
        "no_create",
        "CREATE on the schema is not granted",
        f"GRANT CREATE ON SCHEMA {quote_identifier(schemaname)} TO {usename}",
    )


def check_tablespaces(
    declared: Sequence[DeclaredIndex],
    tablespaces: Mapping[str, TablespaceFacts],
    storage: StorageFacts,
    usename: str,
) -> Iterator[Finding]:
    """CREATE on every tablespace that an index goes to; the database's own needs none."""
    default = storage.default_tablespace
    for index in declared:
        name = index.tablespace or default
        if not name:
            continue
        subject, found = index.relation.quoted, tablespaces.get(name)
        shown = quote_identifier(name)
        by_default = "" if index.tablespace else ", by default_tablespace"
        if found is None and index.tablespace is None:
            # The server falls back to the database's own.
            continue
        if found is None:
            hint = "create it, or declare another tablespace"
            yield failed(
                "create in tablespace", subject, "no_tablespace", f"there is no tablespace {shown}", hint
            )
        elif found.may_create or found.is_default:
            yield passed("create in tablespace", subject, f"CREATE on {shown} is granted{by_default}")
        else:
            yield failed(
                "create in tablespace",
                subject,
                "no_create",
                f"CREATE on {shown} is not granted{by_default}",
                f"GRANT CREATE ON TABLESPACE {shown} TO {usename}",
            )


def check_leftovers(
    table: RelationName, indexes: Sequence[TableIndex], declared: Collection[str], building: Collection[int]
) -> Finding:
    """Undeclared INVALID indexes of the table: they slow writes and serve no query."""
    invalid = [
        index.indexname
        for index in indexes
        if not index.is_usable and index.indexname not in declared and index.indexrelid not in building
    ]
    if not invalid:
        return passed("invalid indexes", table.quoted, "no undeclared index is INVALID")
    names = [RelationName(table.schemaname, name).quoted for name in invalid]
    return warned(
        "invalid indexes",
        table.quoted,
        "leftovers",
        f"INVALID and not being built: {', '.join(names)}",
        "; ".join(f"DROP INDEX CONCURRENTLY {name}" for name in names),
        indexnames=invalid,
    )


def check_wraparound(facts: WraparoundFacts, warn_age_share: float) -> Finding:
    """How far the database is from transaction ID wraparound."""
    ages = {
        "xid_age": facts.xid_age,
        "mxid_age": facts.mxid_age,
        "failsafe_age": facts.failsafe_age,
        "multixact_failsafe_age": facts.multixact_failsafe_age,
    }
    found = (
        f"oldest transaction is {facts.xid_age:,} transactions old, oldest multixact {facts.mxid_age:,}; "
        f"the failsafe starts at {facts.failsafe_age:,} and {facts.multixact_failsafe_age:,}"
    )
    share = max(facts.xid_age / facts.failsafe_age, facts.mxid_age / facts.multixact_failsafe_age)
    hint = "freeze the oldest tables first: VACUUM cannot remove rows newer than a running build"
    if share >= 1:
        return failed("wraparound", DATABASE, "failsafe_reached", found, hint, **ages)
    if share >= warn_age_share:
        return warned("wraparound", DATABASE, "near_failsafe", found, hint, **ages)
    return passed("wraparound", DATABASE, found, **ages)


def check_table_age(table: RelationName, age: TableAge | None, warn_age_share: float) -> Finding:
    """Whether autovacuum must freeze the table soon, which the build would block."""
    subject = table.quoted
    if age is None or age.xid_age is None:
        return unknown(
            "wraparound",
            subject,
            "not_seen",
            "its age could not be read",
            "rerun when the table is not locked",
        )
    facts = {"xid_age": age.xid_age, "mxid_age": age.mxid_age, "freeze_max_age": age.freeze_max_age}
    found = (
        f"oldest transaction is {age.xid_age:,} transactions old, "
        f"autovacuum must start at {age.freeze_max_age:,}"
    )
    share = max(age.xid_age / age.freeze_max_age, (age.mxid_age or 0) / age.multixact_freeze_max_age)
    if share >= warn_age_share:
        return warned(
            "wraparound",
            subject,
            "vacuum_due",
            f"{found}; it cannot run during the build, and a build waits for it once it runs",
            f"VACUUM (FREEZE) {subject}",
            **facts,
        )
    return passed("wraparound", subject, found, **facts)
