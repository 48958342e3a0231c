"""The tables below a partitioned one, their indexes, and the attachment of these to the indexes above."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from exporter.model import RelationName
from exporter.postgres.fetching import fetch
from exporter.postgres.relations.tables import TableIndex
from exporter.postgres.target import Connection


@dataclass(frozen=True, slots=True)
class Partition:
    """One table below a partitioned one. Units: blocks. Source: pg_inherits, pg_class (14).

    `quoted_name` is its name as the server writes it in definitions.
    """

    relid: int
    parent_relid: int
    schemaname: str
    relname: str
    quoted_name: str
    relkind: str
    relpages: int
    is_owner: bool
    owner_name: str
    owner_is_superuser: bool
    may_create: bool

    @property
    def name(self) -> RelationName:
        """The table's name."""
        return RelationName(self.schemaname, self.relname)


@dataclass(frozen=True, slots=True)
class PartitionIndex(TableIndex):
    """An index of a table in the tree; `parent_indexrelid` is the partitioned index it is attached to."""

    relid: int
    parent_indexrelid: int | None


@dataclass(frozen=True, slots=True)
class QuotedIdentifier:
    """A name and how the server writes it. Source: quote_ident()."""

    name: str
    quoted_name: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """The attachment of an index of a partition to the index above. Source: pg_inherits, pg_index (14).

    Oids are None where there is no such index; `is_partition` is about the tables.
    """

    indexrelid: int | None
    is_usable: bool | None
    parent_indexrelid: int | None
    parent_is_valid: bool | None
    is_attached: bool
    is_partition: bool
    valid_ancestors: Sequence[str]


def read_partitions(connection: Connection, relid: int) -> list[Partition]:
    """Every table below the partitioned one, each before its own partitions."""
    return fetch(connection, "partition_tree", Partition, root_relid=relid)


def read_partition_indexes(connection: Connection, relids: Collection[int]) -> list[PartitionIndex]:
    """Every index of the given tables."""
    parameters = {"relids": list(relids)}
    return fetch(connection, "partition_indexes", PartitionIndex, **parameters)


def read_quoted(connection: Connection, names: Iterable[str]) -> dict[str, str]:
    """Each name as the server writes it in a definition."""
    parameters = {"names": list(names)}
    rows = fetch(connection, "quoted_identifiers", QuotedIdentifier, **parameters)
    return {row.name: row.quoted_name for row in rows}


def read_attachment(
    connection: Connection, table: RelationName, indexname: str, parent: RelationName
) -> Attachment:
    """Return the attachment of the index of that name on the partition to the index above."""
    parameters = {
        "schemaname": table.schemaname,
        "relname": table.relname,
        "indexname": indexname,
        "parent_schemaname": parent.schemaname,
        "parent_indexname": parent.relname,
    }
    return fetch(connection, "partition_attachment", Attachment, **parameters)[0]
