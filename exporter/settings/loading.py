"""Settings from all their sources: flag > PG_INDEX_EXPORTER_* variable > YAML file > default.

DATA_SOURCE_NAME and PG* rank just above the defaults and count only when neither `targets` nor
`dsn` is set. No message repeats a value: it could be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from exporter.errors import Fault, SettingsError
from exporter.parsing.text import InvalidText
from exporter.settings.conninfo import set_variables
from exporter.settings.model import DatabaseSettings, Settings, TargetSettings, nearest_place
from exporter.settings.sources import (
    DATA_SOURCE_VARIABLE,
    Layer,
    Location,
    ambient_layer,
    environment_layer,
    file_layer,
    flag_layer,
    flag_of,
    settings_file,
    variable_of,
)
from exporter.yamlfile.reader import unknown_key

# One source names the server; together they would contradict each other.
_SERVER_SETTINGS = ("targets", "dsn", "dsn_file")
_HINTS = {
    "int": "write a whole number",
    "float": "write a number",
    "bool": "write true or false",
    "string_type": "put the text in quotes",
    "string": "choose another text",
    "greater": "choose a larger number",
    "less": "choose a smaller number",
    "literal": "choose one of them",
    "tuple": "write a list",
    "model": "write `key: value` lines",
}


@dataclass(frozen=True, slots=True)
class SettingReference:
    """What documentation and `--help` say of one setting; `flag` is empty where there is none."""

    name: str
    flag: str
    variable: str
    default: str
    description: str
    is_switch: bool


def setting_references() -> tuple[SettingReference, ...]:
    """Every top-level setting, in the order of the model."""
    return tuple(
        SettingReference(
            name=name,
            flag="" if name == "targets" else flag_of(name),
            variable=variable_of(name),
            default=_shown(info.default),
            description=info.description or "",
            is_switch=info.annotation is bool,
        )
        for name, info in Settings.model_fields.items()
    )


def _shown(default: object) -> str:
    if default is None or default == ():
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def load_settings(
    *, file: Path | None, flags: Mapping[str, object], environment: Mapping[str, str]
) -> Settings:
    """The settings from all sources; `file` defaults to PG_INDEX_EXPORTER_CONFIG_FILE.

    `flags` maps names of settings to values, None meaning not given.
    Raises: SettingsError, with all faults of all sources.
    """
    faults: list[Fault] = []
    file = settings_file(file, environment)
    layers = [
        flag_layer(flags),
        environment_layer(environment, Settings.model_fields, faults),
        file_layer(file, faults) if file is not None else Layer(),
    ]
    servers_named = any(name in layer.values for layer in layers for name in _SERVER_SETTINGS)
    layers.append(Layer() if servers_named else ambient_layer(environment, faults))
    faults.extend(_keep_one_server(layers))
    places = _places(layers)
    settings = _validated(layers, places, faults)
    if settings is None or faults:
        count = len(faults)
        raise SettingsError(f"the settings have {count} fault{'s' if count != 1 else ''}", faults=faults)
    settings._file = file
    settings._places = places
    if servers_named:
        source = (DATA_SOURCE_VARIABLE,) if environment.get(DATA_SOURCE_VARIABLE) else ()
        settings._ignored_variables = (*source, *set_variables(environment))
    return settings


def _keep_one_server(layers: Sequence[Layer]) -> list[Fault]:
    """Removes from lower layers what a higher one decides: which server is meant."""
    faults: list[Fault] = []
    decided = False
    for layer in layers:
        given = [name for name in _SERVER_SETTINGS if name in layer.values]
        if decided:
            for name in given:
                del layer.values[name]
        elif len(given) > 1:
            place = nearest_place(layer.places, (given[1],)) or given[1]
            faults.append(Fault(place, f"both {given[0]} and {given[1]} are set", "keep one of them"))
        decided = decided or bool(given)
    return faults


def _places(layers: Sequence[Layer]) -> dict[Location, str]:
    """The places of the values that count: of each setting, those of its highest layer."""
    return {
        location: place
        for layer in reversed(layers)
        for location, place in layer.places.items()
        if not location or location[0] in layer.values
    }


def _validated(
    layers: Sequence[Layer], places: Mapping[Location, str], faults: list[Fault]
) -> Settings | None:
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged.update(layer.values)
    # pydantic-settings takes some keys, such as _env_file, for arguments of its own.
    for name in sorted(merged.keys() - Settings.model_fields.keys()):
        place = nearest_place(places, (name,)) or flag_of(name)
        faults.append(Fault(place, *unknown_key(name, Settings.model_fields)))
        del merged[name]
    faults.extend(_policy_faults(merged, places))
    try:
        return Settings(**merged)
    except ValidationError as error:
        # Never its text: that repeats what was given.
        details = error.errors(include_url=False, include_input=False)
    faults.extend(_fault(detail, places) for detail in details)
    return None


def _policy_faults(merged: Mapping[str, Any], places: Mapping[Location, str]) -> Iterator[Fault]:
    """A policy that would end sessions and does not say whose; or a flag that says whose, and no policy.

    Of what was given, so that these faults are reported together with all others.
    """
    policies = {"on_blocker": ("cancel", "terminate"), "on_waiter": ("cancel",)}
    touching = [name for name, words in policies.items() if str(merged.get(name)).lower() in words]
    patterns = [name for name in ("only_application", "only_user", "only_database") if merged.get(name)]
    if touching and not patterns:
        place = nearest_place(places, (touching[0],)) or touching[0]
        yield Fault(
            place,
            "sessions of others would be ended, and it is not said which",
            "name them: only_application, only_user or only_database, each a shell pattern; '*' is everybody",
        )
    # In the file they may wait for the day on which somebody gives the policy.
    given_now = [name for name in patterns if places.get((name,)) == flag_of(name)]
    if given_now and not touching:
        yield Fault(
            flag_of(given_now[0]),
            "it names sessions that may be touched, but nothing touches any",
            "add --on-blocker cancel or terminate, or --on-waiter cancel",
        )


def _fault(detail: ErrorDetails, places: Mapping[Location, str]) -> Fault:
    location = detail["loc"]
    place = nearest_place(places, location) or flag_of(str(location[0]))
    kind = detail["type"]
    cause = detail.get("ctx", {}).get("error")
    name = _written(location)
    if kind == "extra_forbidden":
        return Fault(place, *unknown_key(str(location[-1]), _known_keys(location)))
    if kind == "missing":
        return Fault(place, f"{_written(location[:-1])} lacks {location[-1]!r}", f"add `{location[-1]}:`")
    if isinstance(cause, InvalidText):
        return Fault(place, f"{name}: {cause.what}", cause.hint)
    what = re.sub(r"^\w+ should", "it should", detail["msg"])
    hint = next((hint for prefix, hint in _HINTS.items() if kind.startswith(prefix)), "see docs/settings.md")
    return Fault(place, f"{name}: {what}", hint)


def _written(location: Location) -> str:
    """The location as people write it: `targets[0].databases[1].name`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".")


def _known_keys(location: Location) -> list[str]:
    names = [part for part in location[:-1] if isinstance(part, str)]
    return list((TargetSettings if len(names) == 1 else DatabaseSettings).model_fields)
