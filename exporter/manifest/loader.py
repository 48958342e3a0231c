"""The declared indexes of one migration, from YAML; every fault is reported with its place.

SQL is not read here beyond placeholders and unbalanced parentheses: the server is the parser.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from exporter.errors import Fault, ManifestError
from exporter.model import BackupCommand, DeclaredIndex, Manifest, Probe, RelationName, Role
from exporter.parsing.text import (
    InvalidText,
    parse_identifier,
    parse_qualified,
    placeholder_faults,
    placeholder_names,
    unbalanced_parentheses,
)
from exporter.yamlfile.reader import FaultList, Located, read_yaml, unknown_key
from exporter.yamlfile.section import Section, open_section

MAX_SIZE_RATIO = 10.0
MAX_PROBE_SECONDS = 3600.0
MAX_BACKUP_SECONDS = 24 * 3600.0

_MANIFEST_KEYS = ("migration", "search_path", "analyze", "backup", "indexes")
_BACKUP_KEYS = ("command", "timeout_seconds")
_INDEX_KEYS = (
    "name",
    "table",
    "method",
    "unique",
    "nulls_not_distinct",
    "columns",
    "include",
    "with",
    "tablespace",
    "where",
    "max_size_ratio",
    "not_null",
    "probes",
    "role",
)
_PROBE_KEYS = ("name", "sql", "sample", "max_seconds")
_ENDINGS = (".yaml", ".yml")
_MIGRATION = re.compile(r"[A-Za-z0-9_.-]{1,63}")


def manifest_files(path: Path) -> tuple[Path, ...]:
    """The file at the path; where it is a folder, its *.yaml and *.yml files in the order of their names.

    Raises: ManifestError for a folder that cannot be listed or has none.
    """
    if not path.is_dir():
        return (path,)
    try:
        # Hidden ones are an editor's, or Kubernetes' own copies of a mounted ConfigMap.
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    except OSError as error:
        what, hint = f"the folder cannot be listed: {error.strerror}", "check its rights"
        raise ManifestError(f"{path}: {what}", faults=(Fault(str(path), what, hint),)) from error
    files = tuple(path / name for name in names if name.endswith(_ENDINGS) and (path / name).is_file())
    if not files:
        what, hint = "the folder holds no manifest", "put *.yaml files there, or name a file"
        raise ManifestError(f"{path}: {what}", faults=(Fault(str(path), what, hint),))
    return files


def load_manifest(path: Path) -> Manifest:
    """The manifest in the file, with every name folded and qualified as the server would.

    Raises: ManifestError, with all faults of the file.
    """
    faults = FaultList(str(path))
    document = read_yaml(path, faults)
    manifest = None if document is None else _manifest(document, faults)
    if faults.found or manifest is None:
        count = len(faults.found)
        raise ManifestError(
            f"the manifest {path} has {count} fault{'s' if count != 1 else ''}", faults=faults.sorted()
        )
    return manifest


def _manifest(document: Located, faults: FaultList) -> Manifest | None:
    section = open_section(document, "a manifest", _MANIFEST_KEYS, faults)
    if section is None:
        return None
    migration = section.text("migration", required=True)
    if migration is not None and not _MIGRATION.fullmatch(migration):
        section.fault(
            "migration",
            "migration is not a plain name",
            "use 1 to 63 letters, digits, dots, dashes or underscores",
        )
    search_path = section.list_of("search_path", parse_identifier, default=("public",))
    schemaname = search_path[0] if search_path else "public"

    def relation(text: str) -> RelationName:
        return _relation(text, schemaname)

    indexes = _indexes(section, relation, faults)
    analyze = section.list_of(
        "analyze", relation, default=tuple(dict.fromkeys(index.table for index in indexes))
    )
    backup = _backup(section, faults)
    if faults.found or migration is None:
        return None
    return Manifest(faults.file, migration, search_path, analyze, indexes, backup)


def _backup(section: Section, faults: FaultList) -> BackupCommand | None:
    entry = section.mapping("backup")
    backup = None if entry is None else open_section(entry, "backup", _BACKUP_KEYS, faults)
    if backup is None:
        return None
    words = backup.list_of("command", str, required=True)
    timeout_seconds = backup.number("timeout_seconds", MAX_BACKUP_SECONDS)
    return BackupCommand(words) if timeout_seconds is None else BackupCommand(words, timeout_seconds)


def _relation(text: str, schemaname: str) -> RelationName:
    match parse_qualified(text):
        case (relname,) if schemaname == "$user":
            raise InvalidText(
                f"{text!r} has no schema, and search_path begins with $user", "write schema.table"
            )
        case (relname,):
            return RelationName(schemaname, relname)
        case (schema, relname):
            return RelationName(schema, relname)
        case _:
            raise InvalidText(
                f"{text!r} has more than two parts",
                "write table or schema.table; the database is chosen where the manifest is bound",
            )


def _indexes(
    section: Section, relation: Callable[[str], RelationName], faults: FaultList
) -> tuple[DeclaredIndex, ...]:
    lines: dict[str, int] = {}
    indexes: list[DeclaredIndex] = []
    for entry in section.items("indexes", required=True):
        index = _index(entry, relation, faults)
        if index is None:
            continue
        if index.name in lines:
            # The journal distinguishes the indexes of one migration by their names.
            faults.add(
                entry.line,
                f"the name {index.name!r} is declared twice, first in line {lines[index.name]}",
                "give it another name, or another migration if it is in another schema",
            )
            continue
        lines[index.name] = entry.line
        indexes.append(index)
    return tuple(indexes)


def _index(
    entry: Located, relation: Callable[[str], RelationName], faults: FaultList
) -> DeclaredIndex | None:
    section = open_section(entry, "an index", _INDEX_KEYS, faults)
    if section is None:
        return None
    name = section.parsed("name", parse_identifier, required=True)
    table = section.parsed("table", relation, required=True)
    index = DeclaredIndex(
        name=name or "",
        table=table or RelationName("", ""),
        columns=section.list_of("columns", _sql_element, required=True),
        method=section.parsed("method", parse_identifier) or "btree",
        unique=section.boolean("unique"),
        nulls_not_distinct=section.boolean("nulls_not_distinct"),
        include=section.list_of("include", _sql_element),
        options=section.list_of("with", _sql_element),
        tablespace=section.parsed("tablespace", parse_identifier),
        where=section.parsed("where", _sql_element),
        max_size_ratio=section.number("max_size_ratio", MAX_SIZE_RATIO),
        not_null=section.list_of("not_null", parse_identifier),
        probes=_probes(section, name or "", faults),
        role=section.parsed("role", _role) or Role.READ,
    )
    # Without its name an index cannot be a duplicate; its other faults are already collected.
    return index if name is not None and table is not None else None


def _probes(section: Section, index_name: str, faults: FaultList) -> tuple[Probe, ...]:
    lines: dict[str, int] = {}
    probes: list[Probe] = []
    for number, entry in enumerate(section.items("probes"), start=1):
        probe_section = open_section(entry, "a probe", _PROBE_KEYS, faults)
        if probe_section is None:
            continue
        probe = _probe(probe_section, f"{index_name}_{number}")
        if probe.name in lines:
            faults.add(
                entry.line,
                f"the probe {probe.name!r} exists already, in line {lines[probe.name]}",
                "give it another name",
            )
        lines.setdefault(probe.name, entry.line)
        probes.append(probe)
    return tuple(probes)


def _probe(section: Section, default_name: str) -> Probe:
    name = section.text("name")
    sql = section.text("sql", required=True) or ""
    sample = section.text("sample")
    names = placeholder_names(sql)
    for what, hint in placeholder_faults(sql):
        section.fault("sql", what, hint)
    if names and not section.has("sample"):
        section.fault(
            "sql",
            f"no sample for the parameter{'s' if len(names) > 1 else ''} {', '.join(names)}",
            f"add `sample:` with a query that returns the column{'s' if len(names) > 1 else ''} "
            f"{', '.join(names)}",
        )
    if sql and not names and section.has("sample"):
        section.fault(
            "sample",
            "a sample for a probe without parameters",
            "remove it, or use its columns in sql as %(name)s",
        )
    if sample and placeholder_names(sample):
        section.fault("sample", "the sample has parameters", "write a query that runs without parameters")
    return Probe(name or default_name, sql, sample, section.number("max_seconds", MAX_PROBE_SECONDS))


def _sql_element(text: str) -> str:
    if unbalanced_parentheses(text):
        raise InvalidText(
            f"the parentheses of {text!r} do not match",
            "put the whole expression in quotes: inside [ ] YAML splits at every comma",
        )
    return text


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        what, hint = unknown_key(text, [role.value for role in Role])
        raise InvalidText(what.replace("key", "role"), hint) from None
