"""What the program is told, and the servers that it means.

Names are loaded when they are first used: the model of the settings brings pydantic along, which is a sixth
of a sidecar's memory, and whoever has the settings read elsewhere (`apart`) does not need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.settings.binding import disk_of, resolve_targets
    from exporter.settings.conninfo import take_environment
    from exporter.settings.loading import load_settings, setting_references
    from exporter.settings.model import DatabaseSettings, Settings, TargetSettings
    from exporter.settings.reading import read
    from exporter.settings.source import ENVIRONMENT_PREFIX, Configuration, Reading, Source

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

_HOMES = {
    **dict.fromkeys(("disk_of", "resolve_targets"), "binding"),
    **dict.fromkeys(("load_settings", "setting_references"), "loading"),
    **dict.fromkeys(("DatabaseSettings", "Settings", "TargetSettings"), "model"),
    **dict.fromkeys(("ENVIRONMENT_PREFIX", "Configuration", "Reading", "Source"), "source"),
    "read": "reading",
    "take_environment": "conninfo",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
