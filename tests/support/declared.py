"""Declared indexes and manifests as a manifest file would give them, for tests of the change line."""

from dataclasses import replace
from typing import Any

from exporter.model import DeclaredIndex, Manifest, RelationName


def relation(text: str) -> RelationName:
    """The relation of a plain name, in public unless it says another schema."""
    schemaname, _, relname = text.rpartition(".")
    return RelationName(schemaname or "public", relname)


def declare(name: str, table: str | RelationName = "messages", *columns: str, **rest: Any) -> DeclaredIndex:
    """A declared index, on (id) unless columns are given."""
    on = table if isinstance(table, RelationName) else relation(table)
    return replace(DeclaredIndex(name, on, columns or ("id",)), **rest)


def manifest_of(
    *indexes: DeclaredIndex, migration: str = "001_test", analyze: tuple[str, ...] | None = None
) -> Manifest:
    """A manifest of these indexes; its tables are analyzed unless `analyze` names others."""
    tables = tuple(dict.fromkeys(index.table for index in indexes))
    named = tables if analyze is None else tuple(map(relation, analyze))
    return Manifest("test.yaml", migration, ("public",), named, indexes)
