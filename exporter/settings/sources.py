"""The sources of settings, highest first: flags, environment, YAML file, and libpq's environment.

pydantic-settings calls each in its order and merges what they give. Beside the values each of ours records
the place of every value, and its faults, so that all faults of all sources are reported at once.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from exporter.errors import Fault
from exporter.parsing.text import InvalidText
from exporter.secret import SecretStr
from exporter.settings.connection.conninfo import parameters_from, parse_dsn, with_service
from exporter.settings.connection.dsn_text import looks_like_dsn
from exporter.settings.connection.service_file import service_files
from exporter.settings.names import (
    CONFIG_FILE_FLAG,
    CONFIG_FILE_VARIABLE,
    DATA_SOURCE_VARIABLE,
    ENVIRONMENT_PREFIX,
    Location,
    flag_of,
    nearest_place,
    variable_of,
)
from exporter.settings.paths import anchored
from exporter.yamlfile.reader import FaultList, Located, plain, read_yaml, unknown_key

# One source names the server; together they would contradict each other.
SERVER_SETTINGS = ("targets", "dsn", "dsn_file")

# What Kubernetes puts into every container of a namespace with a Service named like this program.
_SERVICE_LINK = re.compile(
    r"PG_INDEX_EXPORTER_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)=.*"
    r"|PG_INDEX_EXPORTER_(?:[A-Z0-9_]+_)?PORT=(?:tcp|udp|sctp)://.*"
)


@dataclass(slots=True)
class Record:
    """What the sources of one load have in common: their inputs, and what they record.

    `values` and `places` are those that count; `is_server_named`: a source above libpq's names a server.
    """

    file: Path | None
    flags: Mapping[str, object] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    faults: list[Fault] = field(default_factory=list)
    values: dict[str, object] = field(default_factory=dict, repr=False)
    places: dict[Location, str] = field(default_factory=dict)
    is_server_named: bool = False


class PlacedSource(PydanticBaseSettingsSource):
    """A source that records where each of its values was given."""

    def __init__(self, settings_cls: type[BaseSettings], record: Record) -> None:
        super().__init__(settings_cls)
        self.record = record

    @abstractmethod
    def read(self) -> tuple[dict[str, object], dict[Location, str]]:
        """The values of this source, and the place of each and of their parts; adds faults to the record."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not asked by field: `__call__` gives all of them."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The values that count: the highest source that names a server decides; lower sources name none."""
        values, places = self.read()
        given = [name for name in SERVER_SETTINGS if name in values]
        if any(name in self.current_state for name in SERVER_SETTINGS):
            for name in given:
                del values[name]
        elif len(given) > 1:
            place = nearest_place(places, (given[1],)) or given[1]
            self.record.faults.append(
                Fault(place, f"both {given[0]} and {given[1]} are set", "keep one of them")
            )
        for location, place in places.items():
            is_ours = not location or (location[0] in values and location[0] not in self.current_state)
            if is_ours:
                self.record.places[location] = place
        for name, value in values.items():
            self.record.values.setdefault(name, value)
        return values


class FlagSource(PlacedSource):
    """The flags of the command line; None means not given."""

    def read(self) -> tuple[dict[str, object], dict[Location, str]]:
        """The settings given as flags."""
        given = {name: value for name, value in self.record.flags.items() if value is not None}
        return (
            {name: anchored(name, value, Path()) for name, value in given.items()},
            {(name,): flag_of(name) for name in given},
        )


class VariableSource(PlacedSource):
    """The PG_INDEX_EXPORTER_* variables; an empty one counts as not set.

    `PG_INDEX_EXPORTER_TARGETS__0__NAME` is the name of the first target: two underscores go one level down.
    """

    def read(self) -> tuple[dict[str, object], dict[Location, str]]:
        """The settings in the environment."""
        known = {variable_of(name): name for name in self.settings_cls.model_fields}
        values: dict[str | int, object] = {}
        places: dict[Location, str] = {}
        for variable, value in sorted(self.record.environment.items()):
            if not variable.startswith(ENVIRONMENT_PREFIX) or variable == CONFIG_FILE_VARIABLE or not value:
                continue
            if _SERVICE_LINK.fullmatch(f"{variable}={value}"):
                continue
            top, *path = variable.removeprefix(ENVIRONMENT_PREFIX).split("__")
            name = known.get(ENVIRONMENT_PREFIX + top)
            if name is None or (path and name != "targets"):
                what, hint = unknown_key(variable, [*known, CONFIG_FILE_VARIABLE])
                self.record.faults.append(Fault(variable, what.replace("key", "variable"), hint))
                continue
            location = (name, *(int(part) if part.isdecimal() else part.lower() for part in path))
            if not _put(values, location, value):
                what = "a setting is given as a whole and in parts"
                self.record.faults.append(Fault(variable, what, "keep one of them"))
            places[location] = variable
        return {
            str(name): anchored(str(name), _lists(value), Path()) for name, value in values.items()
        }, places


class YamlSource(PlacedSource):
    """The YAML file; paths in it start at its folder."""

    def read(self) -> tuple[dict[str, object], dict[Location, str]]:
        """The settings in the file, with its line for each."""
        path = self.record.file
        if path is None:
            return {}, {}
        if looks_like_dsn(str(path)):
            what = "a connection string where a path is wanted"
            self.record.faults.append(Fault(CONFIG_FILE_FLAG, what, "give it as --dsn"))
            return {}, {}
        faults = FaultList(str(path))
        document = read_yaml(path, faults)
        values: dict[str, object] = {}
        places: dict[Location, str] = {(): str(path)}
        if document is not None and not isinstance(document.value, Mapping):
            faults.add(
                document.line, f"settings are a mapping, not {document.kind}", "write `key: value` lines"
            )
        elif document is not None and isinstance(document.value, Mapping):
            for name, entry in document.value.items():
                values[name] = anchored(name, plain(entry), path.parent)
                places.update(_places(entry, (name,), faults))
        self.record.faults.extend(faults.sorted())
        return values, places


class LibpqSource(PlacedSource):
    """DATA_SOURCE_NAME and PG*, the former first: one server, if no higher source names any."""

    def read(self) -> tuple[dict[str, object], dict[Location, str]]:
        """The connection string that those variables make."""
        self.record.is_server_named = any(name in self.current_state for name in SERVER_SETTINGS)
        if self.record.is_server_named:
            return {}, {}
        environment = self.record.environment
        parameters = parameters_from(environment)
        source = environment.get(DATA_SOURCE_VARIABLE)
        place = DATA_SOURCE_VARIABLE if source else "the PG* environment variables"
        try:
            explicit = parse_dsn(source) if source else {}
            # As libpq: a service ranks below the connection string and above the other variables.
            service = {"service": explicit.pop("service", "") or parameters.pop("service", "")}
            parameters |= with_service({**service, **explicit}, service_files(environment))
        except InvalidText as error:
            self.record.faults.append(Fault(place, error.what, error.hint))
            return {}, {}
        if not parameters:
            return {}, {}
        return {"dsn": SecretStr(make_conninfo(**parameters))}, {("dsn",): place}


def settings_file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The YAML file: the one that was named, else that of PG_INDEX_EXPORTER_CONFIG_FILE."""
    if file is None and environment.get(CONFIG_FILE_VARIABLE):
        return Path(environment[CONFIG_FILE_VARIABLE])
    return file


def _put(values: dict[str | int, object], location: Location, value: str) -> bool:
    node = values
    for part in location[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            return False
        node = child
    if location[-1] in node:
        return False
    node[location[-1]] = value
    return True


def _lists(value: object) -> object:
    """The value with every mapping whose keys are 0, 1, 2, … as a list."""
    if not isinstance(value, dict):
        return value
    items = {key: _lists(item) for key, item in value.items()}
    if set(items) == set(range(len(items))):
        return [items[number] for number in range(len(items))]
    return {str(key): item for key, item in items.items()}


def _places(entry: Located, location: Location, faults: FaultList) -> dict[Location, str]:
    places: dict[Location, str] = {location: faults.place(entry.line)}
    if isinstance(entry.value, Mapping):
        for key, item in entry.value.items():
            places.update(_places(item, (*location, key), faults))
    elif isinstance(entry.value, tuple):
        for number, item in enumerate(entry.value):
            places.update(_places(item, (*location, number), faults))
    return places
