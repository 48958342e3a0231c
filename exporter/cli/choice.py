"""Which databases and manifests a command works on, where the settings have several."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from exporter.errors import SettingsError
from exporter.model import Database, Manifest, Target
from exporter.parsing.text import InvalidText, parse_qualified

if TYPE_CHECKING:
    from exporter.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Chosen:
    """A database, a manifest to work on there, its target, and how many targets are meant in all."""

    database: Database
    manifest: Manifest
    target: Target
    target_count: int


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add the choice among several databases and migrations."""
    group = parser.add_argument_group("what to work on (default: everything in the settings)")
    group.add_argument("--index", metavar="NAME", help="only this declared index: NAME or SCHEMA.NAME")
    group.add_argument("--migration", metavar="NAME", help="only this migration")
    _add_databases(group)


def add_database_choice(parser: argparse.ArgumentParser) -> None:
    """Add the choice of one database."""
    _add_databases(parser.add_argument_group("which database, where the settings have several"))


def _add_databases(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--target", metavar="NAME", help="only this target")
    group.add_argument("--database", metavar="NAME", help="only this database")


def chosen(arguments: argparse.Namespace, settings: Settings) -> Iterator[Chosen]:
    """Every database with a manifest that the choice leaves; asks servers which databases match patterns.

    Raises: SettingsError when there is none; TargetError when a server cannot be asked.
    """
    is_any = False
    targets = chosen_targets(arguments, settings)
    target_count = sum(_may_be_meant(arguments, target) for target in targets)
    for target in targets:
        for database in _databases(arguments, target, settings):
            if arguments.database not in (None, database.datname):
                continue
            for manifest in database.manifests:
                limited = limited_to(manifest, arguments.index)
                if arguments.migration in (None, manifest.migration) and limited.indexes:
                    is_any = True
                    yield Chosen(database, limited, target, target_count)
    if not is_any:
        raise _nothing_chosen(arguments, targets)


def chosen_targets(arguments: argparse.Namespace, settings: Settings) -> list[Target]:
    """The targets that the choice leaves. Raises: SettingsError for a name that no target has."""
    from exporter.settings.binding import resolve_targets

    targets = resolve_targets(settings)
    left = [target for target in targets if arguments.target in (None, target.name)]
    if targets and not left:
        raise SettingsError(
            f"there is no target {arguments.target!r}; the settings have: {_listed(targets)}",
            hint="choose one of these with --target, or leave the flag out for all",
        )
    return left


def _listed(targets: tuple[Target, ...]) -> str:
    return ", ".join(target.name for target in targets)


def limited_to(manifest: Manifest, index_name: str | None) -> Manifest:
    """The manifest with the index of that name only, or without any; the whole where no name is given.

    Raises: SettingsError for a text that is no name.
    """
    if index_name is None:
        return manifest
    try:
        *schemas, name = parse_qualified(index_name)
    except InvalidText as error:
        raise SettingsError(f"--index: {error.what}", hint=error.hint) from None
    left = tuple(
        index
        for index in manifest.indexes
        if index.name == name and schemas in ([], [index.table.schemaname])
    )
    if left == manifest.indexes:
        return manifest
    tables = {index.table for index in left}
    return replace(
        manifest,
        indexes=left,
        analyze=tuple(table for table in manifest.analyze if table in tables),
        is_partial=True,
    )


def index_not_declared(index_name: str, manifests: Sequence[Manifest]) -> SettingsError:
    """That no manifest declares an index of that name, and which ones are declared."""
    names = dict.fromkeys(index.relation.quoted for manifest in manifests for index in manifest.indexes)
    return SettingsError(
        f"no index {index_name} is declared; the manifests declare: {', '.join(names) or 'none'}",
        hint="choose one of these with --index, or leave the flag out for all",
    )


def _nothing_chosen(arguments: argparse.Namespace, targets: list[Target]) -> SettingsError:
    """Why nothing is left: a name that does not occur, or no manifest at all."""
    databases = [database for target in targets for database in target.databases]
    bound = [manifest for database in databases for manifest in database.manifests]
    bound += [manifest for target in targets for one in target.patterns for manifest in one.manifests]
    migrations = list(dict.fromkeys(manifest.migration for manifest in bound))
    if arguments.migration is not None and migrations and arguments.migration not in migrations:
        return SettingsError(
            f"there is no migration {arguments.migration!r}; the settings have: {', '.join(migrations)}",
            hint="choose one of these with --migration, or leave the flag out for all",
        )
    names = list(dict.fromkeys(database.datname for database in databases))
    if arguments.database is not None and arguments.database not in names:
        patterns = [f"pattern {pattern.pattern}" for target in targets for pattern in target.patterns]
        return SettingsError(
            f"there is no database {arguments.database!r}; the settings have: "
            f"{', '.join((*names, *patterns)) or 'none'}",
            hint="choose one of these with --database, or leave the flag out for all",
        )
    if arguments.index is not None and bound:
        return index_not_declared(arguments.index, bound)
    return SettingsError(
        "no manifest is bound to a database, so no index is declared",
        hint="name a manifest with --manifest FILE, or in the settings: targets[].databases[].manifests",
    )


def _may_be_meant(arguments: argparse.Namespace, target: Target) -> bool:
    """Whether the target has a manifest to work on, as far as its settings say."""
    named = [one.manifests for one in target.databases if arguments.database in (None, one.datname)]
    bound = [
        manifest
        for manifests in (*named, *(one.manifests for one in target.patterns))
        for manifest in manifests
    ]
    return any(arguments.migration in (None, manifest.migration) for manifest in bound)


def _databases(arguments: argparse.Namespace, target: Target, settings: Settings) -> tuple[Database, ...]:
    is_named = arguments.database in [database.datname for database in target.databases]
    if is_named or not any(pattern.manifests for pattern in target.patterns):
        return target.databases
    # Loaded when a server is needed: `plan --sql` must not wait for the driver.
    from exporter.postgres.server.discovery import find_databases
    from exporter.postgres.target import SessionLimits

    limits = SessionLimits(connect_timeout_seconds=settings.connect_timeout_seconds)
    return find_databases(target, limits=limits)
