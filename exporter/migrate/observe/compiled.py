"""The canonical form of a declaration where the server cannot compile it: that in the journal."""

from __future__ import annotations

from exporter.postgres.relations.tables import CompiledIndex, TableFacts, read_table_indexes
from exporter.postgres.target import Connection

# This role, this server or this moment cannot compile the declaration, which may be right: no privilege,
# a standby, a locked table, a timeout.
NOT_COMPILED = ("42501", "25006", "55P03", "57014")


def compiled_before(
    connection: Connection, table: TableFacts, definition: str | None
) -> CompiledIndex | None:
    """The index as it was compiled when the journal stored `definition`; None without one.

    Its part without names is that of an index of the table which has it.
    """
    if definition is None:
        return None
    indexes = read_table_indexes(connection, table.relid)
    natures = [index.nature for index in indexes if definition.endswith(" " + index.nature)]
    is_unique = definition.startswith("CREATE UNIQUE ")
    return CompiledIndex(definition, is_unique, natures[0] if natures else definition)
