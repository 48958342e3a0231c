"""What the program is told, and the servers that it means."""

from exporter.settings.binding import disk_of, resolve_targets
from exporter.settings.conninfo import take_environment
from exporter.settings.loading import load_settings, setting_references
from exporter.settings.model import DatabaseSettings, Settings, TargetSettings
from exporter.settings.reading import Configuration, Reading, Source, read
from exporter.settings.sources import ENVIRONMENT_PREFIX

__all__ = [
    "ENVIRONMENT_PREFIX",
    "Configuration",
    "DatabaseSettings",
    "Reading",
    "Settings",
    "Source",
    "TargetSettings",
    "disk_of",
    "load_settings",
    "read",
    "resolve_targets",
    "setting_references",
    "take_environment",
]
