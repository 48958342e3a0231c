"""Tables: whose they are, what the role may do with them, what lies about on them, how old they are. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from exporter.migrate.observe.indexes import why_unfit
from exporter.migrate.preflight.findings import DATABASE, failed, passed, unknown, warned
from exporter.model import DeclaredIndex, Finding, RelationName, quote_identifier
from exporter.postgres.relations.tables import TableFacts, TableIndex
from exporter.postgres.server.storage import StorageFacts, TableAge, TablespaceFacts, WraparoundFacts

_KINDS = {"r": "an ordinary table", "p": "a partitioned table", "m": "a materialized view"}


def check_built_on(table: RelationName, facts: TableFacts, usename: str) -> Iterator[Finding]:
    """What must hold of a table that gets an index."""
    subject = table.quoted
    if facts.is_owner:
        yield passed("ownership", subject, f"owned by {facts.owner_name}")
    else:
        yield failed(
            "ownership",
            subject,
            "not_owner",
            f"owned by {facts.owner_name}",
            f"GRANT {quote_identifier(facts.owner_name)} TO {usename}, or run as the owner: "
            "only owners create indexes",
        )
    if facts.may_create:
        yield passed("create in schema", subject, "CREATE on the schema is granted")
    else:
        yield failed(
            "create in schema",
            subject,
            "no_create",
            "CREATE on the schema is not granted",
            f"GRANT CREATE ON SCHEMA {quote_identifier(table.schemaname)} TO {usename}",
        )


def check_kind(table: RelationName, facts: TableFacts | None) -> Finding:
    """Whether what bears the name can have an index."""
    unfit = why_unfit(table, facts)
    if unfit is not None:
        return failed("table kind", table.quoted, "no_table", *unfit)
    return passed("table kind", table.quoted, "" if facts is None else _KINDS[facts.relkind])


def check_analyzed(table: RelationName, facts: TableFacts, usename: str) -> Finding:
    """What must hold of a table that is only analyzed."""
    if facts.may_analyze:
        return passed("may analyze", table.quoted, f"owned by {facts.owner_name}")
    return failed(
        "may analyze",
        table.quoted,
        "not_owner",
        f"owned by {facts.owner_name}",
        f"GRANT {quote_identifier(facts.owner_name)} TO {usename}: the server would skip it with a warning",
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
            # The server itself falls back then.
            continue
        if found is None:
            hint = f"create it: CREATE TABLESPACE {shown} LOCATION …, or declare another"
            yield failed("create in tablespace", subject, "no_tablespace", f"there is no {shown}", hint)
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
    """INVALID indexes of the table that no declaration names: they cost writes and serve no query."""
    invalid = [
        index.indexname
        for index in indexes
        if not index.is_usable and index.indexname not in declared and index.indexrelid not in building
    ]
    if not invalid:
        return passed("invalid indexes", table.quoted, "none but declared ones")
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
    """How far the whole database is from the point where the server stops writing."""
    ages = {
        "xid_age": facts.xid_age,
        "mxid_age": facts.mxid_age,
        "failsafe_age": facts.failsafe_age,
        "multixact_failsafe_age": facts.multixact_failsafe_age,
    }
    found = (
        f"oldest transaction {facts.xid_age:,} ago, multixact {facts.mxid_age:,} ago; the server's failsafe "
        f"begins at {facts.failsafe_age:,} and {facts.multixact_failsafe_age:,}"
    )
    share = max(facts.xid_age / facts.failsafe_age, facts.mxid_age / facts.multixact_failsafe_age)
    hint = "VACUUM (FREEZE) the oldest tables first: a build holds back what VACUUM may clean"
    if share >= 1:
        return failed("wraparound", DATABASE, "failsafe_reached", found, hint, **ages)
    if share >= warn_age_share:
        return warned("wraparound", DATABASE, "near_failsafe", found, hint, **ages)
    return passed("wraparound", DATABASE, found, **ages)


def check_table_age(table: RelationName, age: TableAge | None, warn_age_share: float) -> Finding:
    """Whether the table will want a VACUUM against wraparound while it is built on."""
    subject = table.quoted
    if age is None or age.xid_age is None:
        return unknown(
            "wraparound", subject, "not_seen", "its age was not to be had", "ask for age(relfrozenxid)"
        )
    facts = {"xid_age": age.xid_age, "mxid_age": age.mxid_age, "freeze_max_age": age.freeze_max_age}
    found = f"oldest transaction {age.xid_age:,} ago, autovacuum must begin at {age.freeze_max_age:,}"
    share = max(age.xid_age / age.freeze_max_age, (age.mxid_age or 0) / age.multixact_freeze_max_age)
    if share >= warn_age_share:
        return warned(
            "wraparound",
            subject,
            "vacuum_due",
            found,
            f"VACUUM (FREEZE) {subject} first: it cannot run during the build, and the build waits for it "
            "once the server has begun it",
            **facts,
        )
    return passed("wraparound", subject, found, **facts)
