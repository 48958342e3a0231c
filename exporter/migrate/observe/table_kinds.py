"""Which relations can have an index or be analyzed, in words. Source: pg_class.relkind."""

from __future__ import annotations

from exporter.model import RelationName
from exporter.postgres.relations.tables import NamedRelation, TableFacts

INDEXED_KINDS = {"r": "table", "p": "partitioned table", "m": "materialized view"}
_ANALYZED_KINDS = {*INDEXED_KINDS, "f"}
_KINDS = {
    "v": "view",
    "f": "foreign table",
    "S": "sequence",
    "c": "composite type",
    "i": "index",
    "I": "partitioned index",
    "t": "TOAST table",
    **INDEXED_KINDS,
}


def why_unfit(name: RelationName, table: TableFacts | None) -> tuple[str, str] | None:
    """Why the relation cannot have an index, and what to do; None where it can."""
    if name.schemaname.startswith("pg_temp"):
        what = f"{name.quoted} is temporary: it belongs to one session"
        return what, "name a permanent table, or create the index in that session"
    if table is None:
        return f"there is no table {name.quoted}", "correct the name, or connect to the right database"
    if name.schemaname == "pg_catalog" and table.relkind in INDEXED_KINDS:
        return f"{name.quoted} is a system catalog, whose indexes are fixed", "name a table"
    if table.relkind not in INDEXED_KINDS:
        return f"{name.quoted} is a {_kind(table.relkind)} and cannot have an index", "name a table"
    return None


def why_not_analyzed(name: RelationName, table: TableFacts | None) -> tuple[str, str] | None:
    """Why the relation cannot be analyzed, and what to do; None where it can."""
    if table is not None and table.relkind in _ANALYZED_KINDS:
        return None
    what = (
        f"there is no table {name.quoted}" if table is None else f"{name.quoted} is a {_kind(table.relkind)}"
    )
    return what, "correct the name, or remove it from analyze"


def describe_relation(relation: NamedRelation) -> str:
    """The kind of the relation with its article; for an index, with its table."""
    kind = _kind(relation.relkind)
    if relation.schemaname is not None and relation.relname is not None:
        return f"an {kind} of {relation.schemaname}.{relation.relname}"
    return f"a {kind}"


def _kind(relkind: str) -> str:
    return _KINDS.get(relkind, "relation of another kind")
