"""Flags of settings that several commands share, and the settings they come to."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from exporter.cli.output import print_message
from exporter.settings.names import CONFIG_FILE_FLAG, CONFIG_FILE_VARIABLE
from exporter.settings.reference import SettingReference, setting_references
from exporter.settings.source import Source

if TYPE_CHECKING:
    from exporter.settings.model import Settings

_PREFIX = "setting_"
_CONFIG_FILE = "config_file"


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the flags of every command that reads settings."""
    group = parser.add_argument_group("settings")
    add_server(group)
    add_setting_flags(group, "manifests", "connect_timeout_seconds", "journal_schema")


def add_server(group: argparse._ActionsContainer) -> None:
    """Add where the settings are and which server is meant."""
    add_config_file(group)
    add_setting_flags(group, "dsn", "dsn_file")


def add_config_file(group: argparse._ActionsContainer) -> None:
    """Add the file with settings."""
    group.add_argument(
        CONFIG_FILE_FLAG,
        dest=f"{_PREFIX}{_CONFIG_FILE}",
        metavar="FILE",
        help=f"YAML file with settings (env: {CONFIG_FILE_VARIABLE})",
    )


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


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The settings of flags, environment and file.

    Raises: SettingsError, with all faults.
    """
    # pydantic is loaded only where settings are read: `serve` reads them in another process.
    from exporter.settings.loading import load_settings

    source = settings_source(arguments)
    settings = load_settings(file=source.file, flags=source.flags, environment=source.environment)
    for note in settings.origin.notes:
        print_message(f"pg-index-exporter: {note}")
    return settings


def settings_source(arguments: argparse.Namespace) -> Source:
    """Where settings come from: flags, file and environment.

    Removes from the process's environment what libpq reads.
    """
    # The parser is built without libpq, so that `--help` does not load it.
    from exporter.settings.connection.conninfo import take_environment

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
