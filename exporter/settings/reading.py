"""Source -> Reading: settings, their targets, and the state of every file that was read for them.

A source can be read many times: the command line and the environment stay as they were at the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from exporter.errors import ManifestError, SettingsError
from exporter.file_state import FileState, file_state
from exporter.manifest.loader import manifest_files
from exporter.model import Target
from exporter.settings.binding import resolve_targets
from exporter.settings.connection.credentials import FILE_KEYWORDS
from exporter.settings.connection.service_file import service_files
from exporter.settings.loading import load_settings
from exporter.settings.model import Settings
from exporter.settings.source import Configuration, Reading, Source
from exporter.settings.sources import settings_file


def read(source: Source) -> Reading:
    """The source as it is now."""
    files: dict[Path, FileState | None] = {}

    # Each before it is read, so that a change during the reading counts as a change.
    def note(paths: Iterable[Path]) -> None:
        for path in paths:
            files.setdefault(path, file_state(path))

    try:
        file = settings_file(source.file, source.environment)
        note([] if file is None else [file])
        note(path for path in service_files(source.environment) if path.exists())
        settings = load_settings(file=source.file, flags=source.flags, environment=source.environment)
        note(_named_files(settings))
        targets = resolve_targets(settings)
        note(_files_of_connections(targets))
    except SettingsError as error:
        return Reading(files, error)
    return Reading(files, Configuration(replace(settings, targets=()), targets))


def _named_files(settings: Settings) -> Iterator[Path]:
    names = [*_manifests(settings.manifests), settings.dsn_file]
    for target in settings.targets:
        names += [target.dsn_file, target.password_file]
        names += [getattr(target, keyword) for keyword in FILE_KEYWORDS if hasattr(target, keyword)]
        names += [path for database in target.databases for path in _manifests(database.manifests)]
    return (Path(name) for name in names if name is not None)


def _manifests(paths: Iterable[str]) -> Iterator[str]:
    """These paths, and the files in those that are folders."""
    for path in paths:
        yield path
        # A folder without manifests is reported where they are bound.
        with suppress(ManifestError):
            yield from map(str, manifest_files(Path(path)))


def _files_of_connections(targets: Iterable[Target]) -> Iterator[Path]:
    """The files that libpq reads, wherever they were named; all databases of a target have the same."""
    for target in targets:
        for database in (target.maintenance, *target.databases)[:2]:
            if database is None:
                continue
            given = conninfo_to_dict(database.conninfo.get_secret_value())
            yield from (Path(str(given[keyword])) for keyword in FILE_KEYWORDS if given.get(keyword))
