"""The import command: a manifest from CREATE INDEX statements, with the server as the parser.

Each statement is run on an empty temporary clone of its table, in a transaction that is rolled back, and
what the catalogue shows of it is declared. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import psycopg
import yaml

from exporter.errors import Fault, ManifestDoesNotFit, ManifestError
from exporter.migrate.observe.table_kinds import why_unfit
from exporter.model import DeclaredIndex, RelationName, quote_identifier
from exporter.parsing.create_index import IndexStatement, index_parts, index_statements
from exporter.parsing.tokens import InvalidStatement
from exporter.postgres.relations.index_statement import ImportedIndex, compile_statement
from exporter.postgres.relations.tables import CompiledIndex, read_table
from exporter.postgres.target import Connection, first_line

_HEADER = """\
# Written by pg-index-exporter import. Add to each index: probes, the queries that it is for, and
# max_size_ratio. The order of the indexes does not matter: the largest table is built on first.
"""


class _Dumper(yaml.SafeDumper):
    """Writes manifests: a text that looks like a number is quoted."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Return the node of a text."""
        looks_like_number = data[:1] in "+-.0123456789" and data != ""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="'" if looks_like_number else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def import_indexes(
    connection: Connection,
    text: str,
    place: str,
    search_path: Sequence[str],
    *,
    on_note: Callable[[str], None] = lambda note: None,
) -> tuple[DeclaredIndex, ...]:
    """The indexes that the statements of the text would create under their `search_path`.

    `on_note` is called with what the manifest declares in another way than the statement.
    Raises: ManifestError with every statement that cannot be imported, by its line; ManifestDoesNotFit when
    only the database refuses them.
    """
    faults: list[Fault] = []
    refused_count = 0
    imported: dict[str, DeclaredIndex] = {}
    for statement in _statements(text, place, faults):
        where = f"{place}:{statement.line}"
        table = _find_table(connection, statement, search_path)
        if table is None:
            name = ".".join(quote_identifier(part) for part in statement.table)
            faults.append(
                Fault(where, f"there is no table {name}", "correct the name, or give --search-path")
            )
            refused_count += 1
            continue
        unfit = why_unfit(table, read_table(connection, table))
        if unfit is not None:
            faults.append(Fault(where, *unfit))
            refused_count += 1
            continue
        try:
            index = _declared(table, *compile_statement(connection, statement, table, search_path))
        except psycopg.Error as error:
            what = f"the server refuses the statement: {first_line(error)}"
            faults.append(Fault(where, what, "correct the statement"))
            refused_count += 1
            continue
        for note in _notes(statement, index):
            on_note(f"{where}: {note}")
        if index.name in imported:
            what = f"the name {quote_identifier(index.name)} is used twice"
            faults.append(Fault(where, what, "give it another name, or remove one of the two"))
        imported[index.name] = index
    if not imported and not faults:
        faults.append(Fault(place, "there is no CREATE INDEX in it", "choose another file"))
    if faults:
        is_readable = len(faults) == refused_count
        branch = ManifestDoesNotFit if is_readable else ManifestError
        raise branch(f"{place} cannot be imported", faults=faults)
    return tuple(imported.values())


def _statements(text: str, place: str, faults: list[Fault]) -> Iterator[IndexStatement]:
    """The statements that can be imported; the others are added to the faults."""
    for statement in index_statements(text):
        if isinstance(statement, InvalidStatement):
            faults.append(Fault(f"{place}:{statement.line}", statement.what, statement.hint))
        else:
            yield statement


def _notes(statement: IndexStatement, index: DeclaredIndex) -> Iterator[str]:
    if statement.name is None:
        yield f"the index has no name; the server would name it {quote_identifier(index.name)}"
    if statement.only:
        yield "ONLY is ignored: the index is declared for all partitions, and init builds and attaches them"


def _find_table(
    connection: Connection, statement: IndexStatement, search_path: Sequence[str]
) -> RelationName | None:
    if len(statement.table) > 2:
        return None
    *schemas, relname = list(statement.table)
    candidates = (RelationName(schemaname, relname) for schemaname in schemas or search_path)
    return next((name for name in candidates if read_table(connection, name) is not None), None)


def _declared(table: RelationName, imported: ImportedIndex, compiled: CompiledIndex) -> DeclaredIndex:
    parts = index_parts(compiled.nature)
    return DeclaredIndex(
        imported.indexname,
        table,
        parts.columns,
        parts.method,
        compiled.indisunique,
        parts.nulls_not_distinct,
        parts.include,
        parts.options,
        imported.tablespace,
        parts.where,
    )


def as_yaml(migration: str, indexes: Sequence[DeclaredIndex]) -> str:
    """The manifest file that declares the indexes."""
    document = {"migration": migration, "indexes": [_entry(index) for index in indexes]}
    return _HEADER + yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )


def _entry(index: DeclaredIndex) -> dict[str, object]:
    entry: dict[str, object] = {
        "name": quote_identifier(index.name),
        "table": index.table.quoted,
        "columns": list(index.columns),
    }
    if index.method != "btree":
        entry["method"] = quote_identifier(index.method)
    if index.unique:
        entry["unique"] = True
    if index.nulls_not_distinct:
        entry["nulls_not_distinct"] = True
    if index.include:
        entry["include"] = list(index.include)
    if index.options:
        entry["with"] = list(index.options)
    if index.tablespace is not None:
        entry["tablespace"] = quote_identifier(index.tablespace)
    if index.where is not None:
        entry["where"] = index.where
    return entry
