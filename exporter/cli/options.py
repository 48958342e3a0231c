"""Flags that several commands share, and what they come to: settings, and the migrations chosen."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.errors import SettingsError
from exporter.model import Database, Manifest, Target
from exporter.settings.conninfo import take_environment
from exporter.settings.source import ENVIRONMENT_PREFIX, Source
from exporter.text.plain import WIDTH, width_for

if TYPE_CHECKING:
    from exporter.settings.model import Settings


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of every command that meets a server."""
    group = parser.add_argument_group("settings")
    setting(group, "--config.file", "config_file", metavar="FILE", help="YAML file with settings")
    setting(
        group,
        "--dsn",
        "dsn",
        metavar="DSN",
        help="connection string; passwords belong into the environment or a file, not on a command line",
    )
    setting(group, "--dsn-file", "dsn_file", metavar="FILE", help="file that holds the connection string")
    setting(
        group,
        "--connect-timeout-seconds",
        "connect_timeout_seconds",
        metavar="SECONDS",
        help="limit of one attempt to connect",
    )
    setting(
        group,
        "--manifest",
        "manifests",
        metavar="FILE",
        action="append",
        help="declared indexes: a YAML file or the name of a bundled one; may be repeated",
    )
    setting(group, "--journal-schema", "journal_schema", metavar="SCHEMA", help="schema of the journal")


def add_web(parser: argparse.ArgumentParser) -> None:
    """Adds where the exporter listens."""
    group = parser.add_argument_group("web")
    setting(
        group,
        "--web.listen-address",
        "web_listen_address",
        metavar="HOST:PORT",
        help="where to listen, default :10187",
    )
    setting(
        group,
        "--web.telemetry-path",
        "web_telemetry_path",
        metavar="PATH",
        help="path of the metrics, default /metrics",
    )
    setting(
        group,
        "--web.config.file",
        "web_config_file",
        metavar="FILE",
        help="TLS, client certificates and users, as Prometheus and its exporters read them",
    )


def add_preflight(parser: argparse.ArgumentParser) -> None:
    """Adds what the preflight is told of the server's disk and of backups."""
    group = parser.add_argument_group("preflight")
    setting(
        group,
        "--data-directory",
        "data_directory",
        metavar="DIR",
        help="the server's data directory as it is seen from here, to ask for free space",
    )
    setting(
        group,
        "--free-bytes",
        "free_bytes",
        metavar="SIZE",
        action="append",
        help="what is free: 500GB, or NAME=2TB for a tablespace; may be repeated",
    )
    setting(
        group,
        "--backup-command",
        "backup_command",
        metavar="WORD",
        action="append",
        help="program, then its words one by one, whose exit code 0 proves a backup",
    )
    setting(
        group,
        "--backup-timeout-seconds",
        "backup_timeout_seconds",
        metavar="SECONDS",
        help="limit of the backup command, default 300",
    )


def setting(group: argparse._ArgumentGroup, flag: str, field: str, **options: object) -> None:
    """Adds the flag of one setting, its environment variable in the help."""
    variable = ENVIRONMENT_PREFIX + field.upper()
    options["help"] = f"{options['help']} (env: {variable})"
    group.add_argument(flag, dest=f"setting_{field}", default=None, **options)  # type: ignore[arg-type]  # passed through


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The settings of flags, environment and file.

    Raises: SettingsError, with all faults.
    """
    # Loaded where settings are read: `serve` has it done elsewhere.
    from exporter.settings.loading import load_settings

    source = settings_source(arguments)
    return load_settings(file=source.file, flags=source.flags, environment=source.environment)


def settings_source(arguments: argparse.Namespace) -> Source:
    """Where settings come from: flags, file, and the environment, which is taken and there no more."""
    flags = {
        name.removeprefix("setting_"): value
        for name, value in vars(arguments).items()
        if name.startswith("setting_") and value is not None
    }
    file = flags.pop("config_file", None)
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
