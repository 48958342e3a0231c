"""Flags that several commands share, and what they come to: settings, and the migrations chosen."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from exporter.errors import SettingsError
from exporter.model import Database, Manifest, Target
from exporter.settings.names import CONFIG_FILE_FLAG, CONFIG_FILE_VARIABLE
from exporter.settings.reference import SettingReference, setting_references
from exporter.settings.source import Source
from exporter.text.plain import WIDTH, width_for

if TYPE_CHECKING:
    from exporter.settings.model import Settings

_PREFIX = "setting_"
_CONFIG_FILE = "config_file"


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the flags of every command that reads settings."""
    group = parser.add_argument_group("settings")
    group.add_argument(
        CONFIG_FILE_FLAG,
        dest=f"{_PREFIX}{_CONFIG_FILE}",
        metavar="FILE",
        help=f"YAML file with settings (env: {CONFIG_FILE_VARIABLE})",
    )
    add_setting_flags(group, "dsn", "dsn_file", "connect_timeout_seconds", "manifests", "journal_schema")


def add_web(parser: argparse.ArgumentParser) -> None:
    """Add where the exporter listens."""
    group = parser.add_argument_group("web")
    add_setting_flags(group, "web_listen_address", "web_telemetry_path", "web_config_file")


def add_preflight(parser: argparse.ArgumentParser) -> None:
    """Add what the preflight needs to know of the server's disk and of backups."""
    group = parser.add_argument_group("preflight")
    add_setting_flags(group, "data_directory", "free_bytes", "backup_command", "backup_timeout_seconds")


def add_setting_flags(group: argparse._ActionsContainer, *names: str) -> None:
    """Add the flags of these settings to a parser or a group, as the settings model describes them.

    No value is checked here: a fault in it is reported with those of all other sources.
    """
    for name in names:
        setting = setting_references()[name]
        help_text = _help(setting)
        dest = f"{_PREFIX}{name}"
        if setting.is_switch:
            action: Literal["store_true", "store_false"] = (
                "store_false" if setting.default == "true" else "store_true"
            )
            group.add_argument(setting.flag, dest=dest, default=None, action=action, help=help_text)
        else:
            group.add_argument(
                setting.flag,
                dest=dest,
                default=None,
                action="append" if setting.is_list else "store",
                metavar=setting.metavar,
                help=help_text,
            )


def _help(setting: SettingReference) -> str:
    text = setting.help
    if setting.flag.startswith("--no-"):
        text = f"do not {text}"
    if setting.is_list:
        text += "; may be repeated"
    if setting.default and not setting.is_switch:
        text += f", default {setting.default}"
    # Backquotes are for Markdown; a percent sign would begin a reference of argparse.
    return f"{text} (env: {setting.variable})".replace("`", "").replace("%", "%%")


def setting(group: argparse._ActionsContainer, _flag: str, name: str, **_options: object) -> None:
    """Add the flag of one setting."""
    add_setting_flags(group, name)


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The settings of flags, environment and file.

    Raises: SettingsError, with all faults.
    """
    # pydantic is loaded only where settings are read: `serve` reads them in another process.
    from exporter.settings.loading import load_settings

    source = settings_source(arguments)
    settings = load_settings(file=source.file, flags=source.flags, environment=source.environment)
    for note in settings.origin.notes:
        print(f"pg-index-exporter: {note}", file=sys.stderr)  # noqa: T201 - this room prints
    return settings


def settings_source(arguments: argparse.Namespace) -> Source:
    """Where settings come from: flags, file and environment.

    Removes from the process's environment what libpq reads.
    """
    # The parser is built without libpq, so that `--help` does not load it.
    from exporter.settings.conninfo import take_environment

    flags = {
        name.removeprefix(_PREFIX): value
        for name, value in vars(arguments).items()
        if name.startswith(_PREFIX) and value is not None
    }
    file = flags.pop(_CONFIG_FILE, None)
    # libpq reads PG* variables for whatever a connection string leaves out: one server's password would
    # go to all of them.
    environment = take_environment(os.environ)
    return Source(Path(file) if file is not None else None, flags, environment)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Adds the choice among several migrations."""
    group = parser.add_argument_group("which migration, where several are in the settings")
    group.add_argument("--target", help="name of the target")
    group.add_argument("--database", help="name of the database")
    group.add_argument("--migration", help="name of the migration")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A database, a manifest to work on there, its target, and how many targets are meant in all."""

    database: Database
    manifest: Manifest
    target: Target
    target_count: int


def chosen(arguments: argparse.Namespace, settings: Settings) -> Iterator[Chosen]:
    """Every database with a manifest that the choice leaves; asks servers which databases match patterns.

    Raises: SettingsError when there is none; TargetError when a server cannot be asked.
    """
    found = False
    targets = chosen_targets(arguments, settings)
    target_count = sum(_may_be_meant(arguments, target) for target in targets)
    for target in targets:
        for database in _databases(arguments, target, settings):
            if arguments.database not in (None, database.datname):
                continue
            for manifest in database.manifests:
                if arguments.migration in (None, manifest.migration):
                    found = True
                    yield Chosen(database, manifest, target, target_count)
    if not found:
        raise SettingsError(
            "no manifest is bound to a database here, so nothing is declared",
            hint="name one: --manifest FILE, or targets[].databases[].manifests in the settings; "
            "one that is bound to a pattern counts where a database matches",
        )


def chosen_targets(arguments: argparse.Namespace, settings: Settings) -> list[Target]:
    """The targets that the choice leaves. Raises: SettingsError."""
    from exporter.settings.binding import resolve_targets

    return [target for target in resolve_targets(settings) if arguments.target in (None, target.name)]


def _may_be_meant(arguments: argparse.Namespace, target: Target) -> bool:
    """Whether the target has a manifest to work on, as far as its settings tell."""
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
    # Loaded when a server is needed: `plan --sql` is not to wait for the driver.
    from exporter.postgres.server.discovery import find_databases
    from exporter.postgres.target import SessionLimits

    limits = SessionLimits(connect_timeout_seconds=settings.connect_timeout_seconds)
    return find_databases(target, limits=limits)


def text_width() -> int:
    """How wide a text on standard output may be: 80 columns, or what a narrower terminal has."""
    if not sys.stdout.isatty():
        return WIDTH
    return width_for(os.get_terminal_size(sys.stdout.fileno()).columns)


def print_text(text: str) -> None:
    """Writes a result to standard output, ending in a newline."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
