"""Where settings come from, and the result of reading them; needs nothing of what reading needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import SettingsError
from exporter.file_state import FileState
from exporter.model import Target
from exporter.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Source:
    """Where settings come from: `flags` maps names of settings to values, --config.file names `file`."""

    file: Path | None
    # Both may hold secrets.
    flags: Mapping[str, object] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and the targets that they name; `settings.targets` is empty here."""

    settings: Settings
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of reading a source: a configuration or an error.

    `files` are those that a new reading may find changed, each in the state it was read in: the settings,
    secrets and manifests, and what libpq reads when it connects.
    """

    files: Mapping[Path, FileState | None]
    outcome: Configuration | SettingsError

    @property
    def configuration(self) -> Configuration:
        """The configuration. Raises: SettingsError, with all faults."""
        if isinstance(self.outcome, SettingsError):
            raise self.outcome
        return self.outcome
