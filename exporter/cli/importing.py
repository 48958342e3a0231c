"""Running `import`."""

from __future__ import annotations

import argparse
import re
import sys
from contextlib import closing
from pathlib import Path

from exporter.cli.options import chosen_targets, print_text, read_settings
from exporter.errors import SettingsError
from exporter.migrate.import_sql import as_yaml, import_indexes
from exporter.model import Database
from exporter.parsing.text import InvalidText, parse_identifier
from exporter.postgres.target import SessionLimits, connect, mapped_errors


def import_file(arguments: argparse.Namespace) -> int:
    """The exit code of writing a manifest from a file of CREATE INDEX statements.

    Raises: SettingsError when the file cannot be read or the output is there already; ManifestError.
    """
    output: Path | None = arguments.output
    if output is not None and output.exists():
        raise SettingsError(f"{output} is there already", hint="choose another name, or move it away")
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
            connection, text, arguments.file, _search_path(arguments.search_path), on_note=_tell
        )
    manifest = as_yaml(arguments.migration or _migration(Path(arguments.file)), indexes)
    if output is None:
        print_text(manifest)
        return 0
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(manifest)
    except OSError as error:
        raise SettingsError(f"{output} cannot be written: {error.strerror}", hint="choose another") from error
    return 0


def _tell(note: str) -> None:
    print(f"pg-index-exporter: {note}", file=sys.stderr)  # noqa: T201 - this room prints


def _only_database(databases: list[Database]) -> Database:
    if len(databases) == 1:
        return databases[0]
    names = ", ".join(one.datname for one in databases) or "none"
    raise SettingsError(f"which database has the tables? there are: {names}", hint="name one: --database")


def _search_path(text: str) -> tuple[str, ...]:
    try:
        return tuple(parse_identifier(name) for name in text.split(","))
    except InvalidText as error:
        raise SettingsError(f"--search-path: {error.what}", hint=error.hint) from None


def _migration(file: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", file.stem)[:63] or "imported"
