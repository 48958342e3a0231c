"""`import`: write a manifest from a file of CREATE INDEX statements."""

from __future__ import annotations

import argparse
import re
from contextlib import closing
from pathlib import Path

from exporter.cli.choice import chosen_targets
from exporter.cli.options import read_settings
from exporter.cli.output import Output, print_message, print_text
from exporter.errors import SettingsError
from exporter.migrate.import_sql import as_yaml, import_indexes
from exporter.model import Database
from exporter.parsing.text import InvalidText, parse_identifier
from exporter.postgres.target import SessionLimits, connect, mapped_errors


def import_sql(arguments: argparse.Namespace, output: Output) -> int:
    """The exit code of writing a manifest from a file of CREATE INDEX statements.

    Raises: SettingsError when the file cannot be read or the output is there already; ManifestError.
    """
    path: Path | None = arguments.output
    if path is not None and path.exists():
        raise SettingsError(f"{path} already exists", hint="choose another name, or move it away")
    try:
        text = Path(arguments.file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{arguments.file} cannot be read: {error}", hint="name a file of SQL in UTF-8"
        ) from error
    settings = read_settings(arguments)
    database = _only_database(
        [
            one
            for target in chosen_targets(arguments, settings)
            for one in target.databases
            if arguments.database in (None, one.datname)
        ]
    )
    limits = SessionLimits(connect_timeout_seconds=settings.connect_timeout_seconds, lock_timeout_seconds=10)
    with (
        mapped_errors(database),
        closing(connect(database, read_only=False, limits=limits)) as connection,
    ):
        indexes = import_indexes(
            connection, text, arguments.file, _search_path(arguments.search_path), on_note=_print_note
        )
    manifest = as_yaml(arguments.migration or _migration(Path(arguments.file)), indexes)
    if path is None:
        print_text(manifest)
        return 0
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(manifest)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}", hint="choose another path"
        ) from error
    return 0


def _print_note(note: str) -> None:
    print_message(f"pg-index-exporter: {note}")


def _only_database(databases: list[Database]) -> Database:
    if len(databases) == 1:
        return databases[0]
    names = ", ".join(one.datname for one in databases) or "none"
    raise SettingsError(
        f"which database has the tables? The settings have: {names}", hint="name one with --database"
    )


def _search_path(text: str) -> tuple[str, ...]:
    try:
        return tuple(parse_identifier(name) for name in text.split(","))
    except InvalidText as error:
        raise SettingsError(f"--search-path: {error.what}", hint=error.hint) from None


def _migration(file: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", file.stem)[:63] or "imported"
