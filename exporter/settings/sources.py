"""The places that settings come from, each read into a layer: values, and where each value stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from exporter import bundled
from exporter.errors import Fault
from exporter.parsing.text import InvalidText
from exporter.settings.conninfo import looks_like_dsn, parameters_from, parse_dsn
from exporter.settings.source import ENVIRONMENT_PREFIX
from exporter.yamlfile.reader import FaultList, Located, parse_yaml, read_yaml, unknown_key

CONFIG_FILE_VARIABLE = f"{ENVIRONMENT_PREFIX}CONFIG_FILE"
DATA_SOURCE_VARIABLE = "DATA_SOURCE_NAME"  # postgres_exporter's
CONFIG_FILE_FLAG = "--config.file"

Location: TypeAlias = tuple[str | int, ...]

_PATHS = frozenset(
    (
        *("manifests", "web_config_file", "dsn_file", "password_file", "data_directory"),
        *("passfile", "sslrootcert", "sslcert", "sslkey"),
    )
)
_LISTS = frozenset(("targets", "databases", "exclude", "manifests"))
# Wrapped at once, so that nothing which logs a layer shows them.
_SECRETS = frozenset(("dsn", "password"))
# What Kubernetes puts into every container of a namespace with a Service named like this program.
_SERVICE_LINK = re.compile(
    r"PG_INDEX_EXPORTER_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)=.*"
    r"|PG_INDEX_EXPORTER_(?:[A-Z0-9_]+_)?PORT=(?:tcp|udp|sctp)://.*"
)
# A list is given one by one; a switch that is on can only be turned off; Prometheus' own names win.
_OTHER_FLAGS = {
    "manifests": "--manifest",
    "query_text": "--no-query-text",
    "web_config_file": "--web.config.file",
}
_DOTTED_FLAGS = ("web", "log")


@dataclass(slots=True)
class Layer:
    """The settings of one source, and for each part of them the place to name in a message."""

    values: dict[str, object] = field(default_factory=dict)
    places: dict[Location, str] = field(default_factory=dict)


def flag_of(name: str) -> str:
    """The command line's flag for a setting: `--web.listen-address` for web_listen_address."""
    if name in _OTHER_FLAGS:
        return _OTHER_FLAGS[name]
    group, _, rest = name.partition("_")
    return "--" + (f"{group}.{rest}" if group in _DOTTED_FLAGS else name).replace("_", "-")


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


def settings_file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The YAML file: the one that was named, else that of PG_INDEX_EXPORTER_CONFIG_FILE."""
    if file is None and environment.get(CONFIG_FILE_VARIABLE):
        return Path(environment[CONFIG_FILE_VARIABLE])
    return file


def flag_layer(flags: Mapping[str, object]) -> Layer:
    """The settings given as flags; None means not given."""
    given = {name: value for name, value in flags.items() if value is not None}
    return Layer(
        {name: _anchored(name, value, Path()) for name, value in given.items()},
        {(name,): flag_of(name) for name in given},
    )


def environment_layer(environment: Mapping[str, str], names: Iterable[str], faults: list[Fault]) -> Layer:
    """The settings in PG_INDEX_EXPORTER_* variables; an empty variable counts as not set.

    `PG_INDEX_EXPORTER_TARGETS__0__NAME` is the name of the first target: two underscores go one level down.
    """
    known = {variable_of(name): name for name in names}
    values: dict[str | int, object] = {}
    places: dict[Location, str] = {}
    for variable, value in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == CONFIG_FILE_VARIABLE or not value:
            continue
        if _SERVICE_LINK.fullmatch(f"{variable}={value}"):
            continue
        top, *path = variable.removeprefix(ENVIRONMENT_PREFIX).split("__")
        name = known.get(ENVIRONMENT_PREFIX + top)
        if name is None or (path and name != "targets"):
            what, hint = unknown_key(variable, [*known, CONFIG_FILE_VARIABLE])
            faults.append(Fault(variable, what.replace("key", "variable"), hint))
            continue
        location = (name, *(int(part) if part.isdecimal() else part.lower() for part in path))
        if not _put(values, location, value):
            faults.append(Fault(variable, "a setting given as a whole and in parts", "keep one of them"))
        places[location] = variable
    return Layer(
        {str(name): _anchored(str(name), _lists(value), Path()) for name, value in values.items()}, places
    )


def file_layer(path: Path, faults: list[Fault]) -> Layer:
    """The settings in a YAML file; paths in it start at the file's folder."""
    if looks_like_dsn(str(path)):
        faults.append(
            Fault(CONFIG_FILE_FLAG, "a connection string where a path is wanted", "give it as --dsn")
        )
        return Layer()
    found = FaultList(str(path))
    document = read_yaml(path, found)
    layer = Layer()
    if document is not None and not isinstance(document.value, Mapping):
        found.add(document.line, f"settings are a mapping, not {document.kind}", "write `key: value` lines")
    elif document is not None and isinstance(document.value, Mapping):
        for name, entry in document.value.items():
            layer.values[name] = _anchored(name, plain(entry), path.parent)
            layer.places.update(_places(entry, (name,), found))
    layer.places[()] = str(path)
    faults.extend(found.sorted())
    return layer


def ambient_layer(environment: Mapping[str, str], faults: list[Fault]) -> Layer:
    """The one target that DATA_SOURCE_NAME and PG* describe, if they do; the former wins."""
    parameters = parameters_from(environment)
    source = environment.get(DATA_SOURCE_VARIABLE)
    if source:
        try:
            parameters.update(parse_dsn(source))
        except InvalidText as error:
            faults.append(Fault(DATA_SOURCE_VARIABLE, error.what, error.hint))
            return Layer()
    if not parameters:
        return Layer()
    place = DATA_SOURCE_VARIABLE if source else "the PG* environment variables"
    return Layer({"dsn": SecretStr(make_conninfo(**parameters))}, {("dsn",): place})


def plain(entry: Located) -> object:
    """The value without its lines."""
    if isinstance(entry.value, tuple):
        return [plain(item) for item in entry.value]
    if isinstance(entry.value, Mapping):
        return {key: plain(item) for key, item in entry.value.items()}
    return entry.value


def split_list(text: str) -> list[object]:
    """The items of a list that had to be written as one text: JSON, or separated by commas.

    Raises: InvalidText.
    """
    if not text.lstrip().startswith(("[", "{")):
        return [item.strip() for item in text.split(",") if item.strip()]
    found = FaultList("")
    document = parse_yaml(text, found)
    value = None if document is None or found.found else plain(document)
    if not isinstance(value, list):
        raise InvalidText("a list that is not valid JSON", 'write ["one", "two"], or one,two')
    return value


def manifest_path(text: str, base: Path) -> str:
    """The path of a manifest: itself, from `base`, or a bundled one by its bare name."""
    path = base / Path(text).expanduser()
    if path.exists() or "/" in text or looks_like_dsn(text):
        return str(path)
    try:
        folder = bundled.path("indexes")
    except FileNotFoundError:
        return str(path)
    for candidate in (folder / text, folder / f"{text}.yaml"):
        if candidate.is_file():
            return str(candidate)
    return str(path)


def _anchored(name: str, value: object, base: Path) -> object:
    """The value with every path in it starting at `base`, and every secret wrapped."""
    if isinstance(value, dict):
        return {key: _anchored(key, item, base) for key, item in value.items()}
    if name in _LISTS and isinstance(value, str):
        try:
            value = split_list(value)
        except InvalidText:
            return value  # refused later, with its place
    if isinstance(value, list | tuple):
        return [
            _anchored_text(name, item, base) if isinstance(item, str) else _anchored(name, item, base)
            for item in value
        ]
    return _anchored_text(name, value, base) if isinstance(value, str) else value


def _anchored_text(name: str, text: str, base: Path) -> object:
    if name in _SECRETS:
        return SecretStr(text)
    if name not in _PATHS or looks_like_dsn(text):
        return text
    if name == "manifests":
        return manifest_path(text, base)
    # libpq's word for the system's certificates.
    return text if text == "system" else str(base / Path(text).expanduser())


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


def _places(entry: Located, location: Location, found: FaultList) -> dict[Location, str]:
    places: dict[Location, str] = {location: found.place(entry.line)}
    if isinstance(entry.value, Mapping):
        for key, item in entry.value.items():
            places.update(_places(item, (*location, key), found))
    elif isinstance(entry.value, tuple):
        for number, item in enumerate(entry.value):
            places.update(_places(item, (*location, number), found))
    return places
