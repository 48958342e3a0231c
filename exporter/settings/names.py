"""The names of a setting (key, flag, environment variable), and the places where values were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

ENVIRONMENT_PREFIX = "PG_INDEX_EXPORTER_"
CONFIG_FILE_FLAG = "--config.file"
CONFIG_FILE_VARIABLE = f"{ENVIRONMENT_PREFIX}CONFIG_FILE"
DATA_SOURCE_VARIABLE = "DATA_SOURCE_NAME"  # postgres_exporter's

Location: TypeAlias = tuple[str | int, ...]

# A list is given item by item; a switch that is on can only be turned off; Prometheus' own names win.
_OTHER_FLAGS = {
    "manifests": "--manifest",
    "query_text": "--no-query-text",
    "web_config_file": "--web.config.file",
}
_DOTTED_FLAGS = ("web", "log")


def flag_of(name: str) -> str:
    """The command line's flag for a setting: `--web.listen-address` for web_listen_address."""
    if name in _OTHER_FLAGS:
        return _OTHER_FLAGS[name]
    group, _, rest = name.partition("_")
    return "--" + (f"{group}.{rest}" if group in _DOTTED_FLAGS else name).replace("_", "-")


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


def written(location: Location) -> str:
    """The location as people write it: `targets[0].databases[1].name`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".")


def nearest_place(places: Mapping[Location, str], location: Location) -> str | None:
    """The place of a setting, or of the smallest thing around it whose place is known."""
    for length in range(len(location), -1, -1):
        if location[:length] in places:
            return places[location[:length]]
    return None
