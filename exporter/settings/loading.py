"""Settings from all their sources: flag > PG_INDEX_EXPORTER_* variable > YAML file > default.

DATA_SOURCE_NAME and PG* rank just above the defaults and count only when neither `targets` nor
`dsn` is set. No message repeats a value: it could be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from exporter.errors import Fault, SettingsError
from exporter.parsing.text import InvalidText
from exporter.settings.connection.conninfo import parse_dsn, set_variables
from exporter.settings.connection.service_file import FILE_VARIABLE, FOLDER_VARIABLE, service_files
from exporter.settings.model import (
    DEFAULT_TARGET,
    DEFAULTS,
    DatabaseSettings,
    Origin,
    Settings,
    TargetSettings,
)
from exporter.settings.names import DATA_SOURCE_VARIABLE, Location, flag_of, nearest_place, written
from exporter.settings.reference import key_helps, setting_types
from exporter.settings.sources import (
    FlagSource,
    LibpqSource,
    Record,
    VariableSource,
    YamlSource,
    settings_file,
)
from exporter.yamlfile.reader import unknown_key

_RECORD = "record"
_PASSWORD_VARIABLES = ("PGPASSWORD", "PGPASSFILE")
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
    "dataclass": "write `key: value` lines",
}


class _SourcedSettings(BaseSettings):
    """The base of the model that pydantic-settings fills; its one argument is the record of the load."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources that know their places, instead of the library's own."""
        assert isinstance(init_settings, InitSettingsSource)  # noqa: S101 - the library's contract
        record: Record = init_settings.init_kwargs[_RECORD]
        return (
            FlagSource(settings_cls, record),
            VariableSource(settings_cls, record),
            YamlSource(settings_cls, record),
            LibpqSource(settings_cls, record),
        )


_FIELDS: dict[str, Any] = {
    name: (hint, getattr(DEFAULTS, name)) for name, hint in setting_types(Settings).items()
}
_Model = create_model("_Model", __base__=_SourcedSettings, **_FIELDS)


def load_settings(
    *, file: Path | None, flags: Mapping[str, object], environment: Mapping[str, str]
) -> Settings:
    """The settings from all sources; `file` defaults to PG_INDEX_EXPORTER_CONFIG_FILE.

    `flags` maps names of settings to values, None meaning not given.
    Raises: SettingsError, with all faults of all sources.
    """
    record = Record(settings_file(file, environment), flags, environment)
    values = _validated(record)
    faults = [*record.faults, *_policy_faults(record)]
    if values is None or faults:
        count = len(faults)
        raise SettingsError(f"the settings have {count} fault{'s' if count != 1 else ''}", faults=faults)
    settings = Settings(**values)
    ignored = _ignored_variables(record)
    origin = Origin(
        file=record.file,
        places=record.places,
        ignored_variables=ignored,
        notes=tuple(_ignored_passwords(ignored, settings)),
        service_files=service_files(environment),
    )
    return replace(settings, origin=origin)


def _validated(record: Record) -> dict[str, Any] | None:
    """The values of all settings, or None and their faults in the record."""
    arguments: dict[str, Any] = {_RECORD: record}
    try:
        model = _Model(**arguments)
    except ValidationError as error:
        # Never its text: that repeats what was given.
        details = error.errors(include_url=False, include_input=False)
        details.sort(key=lambda detail: detail["type"] != "extra_forbidden")
    else:
        return {name: getattr(model, name) for name in _FIELDS}
    record.faults.extend(_fault(detail, record.places) for detail in details)
    return None


def _ignored_variables(record: Record) -> tuple[str, ...]:
    """DATA_SOURCE_NAME and PG* where they are set but ignored: a server is named elsewhere."""
    if not record.is_server_named:
        return ()
    source = (DATA_SOURCE_VARIABLE,) if record.environment.get(DATA_SOURCE_VARIABLE) else ()
    # A DSN may name a service, and these say where services are defined.
    names = [
        name for name in set_variables(record.environment) if name not in (FILE_VARIABLE, FOLDER_VARIABLE)
    ]
    return (*source, *names)


def _ignored_passwords(ignored: Sequence[str], settings: Settings) -> Iterator[Fault]:
    """A note on each ignored variable with a password, if a target has no password."""
    only = TargetSettings(name=DEFAULT_TARGET, dsn=settings.dsn, dsn_file=settings.dsn_file)
    bare = [target.name for target in settings.targets or (only,) if not _may_have_password(target)]
    for variable in _PASSWORD_VARIABLES:
        if variable in ignored and bare:
            yield Fault(
                variable,
                f"set but ignored, and target {', '.join(bare)} has no password: settings name the server, "
                "and libpq would send this password to every server",
                "give each target its own: password_file, passfile, or a password in dsn_file",
            )


def _may_have_password(target: TargetSettings) -> bool:
    """True where the settings give a password, or a file that may hold one."""
    if target.password or target.password_file or target.passfile or target.dsn_file:
        return True
    try:
        given = parse_dsn(target.dsn.get_secret_value()) if target.dsn else {}
    except InvalidText:
        return True  # refused later, with its place
    return any(given.get(keyword) for keyword in ("password", "passfile", "service"))


def _policy_faults(record: Record) -> Iterator[Fault]:
    """A policy that would signal sessions without saying which; or a flag that says which, and no policy.

    Of what was given, so that these faults are reported together with all others.
    """
    values, places = record.values, record.places
    policies = {"on_blocker": ("cancel", "terminate"), "on_waiter": ("cancel",)}
    acting = [name for name, words in policies.items() if str(values.get(name)).lower() in words]
    patterns = [name for name in ("only_application", "only_user", "only_database") if values.get(name)]
    if acting and not patterns:
        place = nearest_place(places, (acting[0],)) or acting[0]
        yield Fault(
            place,
            "sessions would be canceled or terminated, and nothing says which",
            "name them: only_application, only_user or only_database, each a shell pattern; '*' matches all",
        )
    # In the file they may wait for a policy that is given later.
    given_now = [name for name in patterns if places.get((name,)) == flag_of(name)]
    if given_now and not acting:
        yield Fault(
            flag_of(given_now[0]),
            "it names sessions for a policy, and no policy is given",
            "add --on-blocker cancel or terminate, or --on-waiter cancel",
        )


def _fault(detail: ErrorDetails, places: Mapping[Location, str]) -> Fault:
    location = detail["loc"]
    place = nearest_place(places, location) or flag_of(str(location[0]))
    kind = detail["type"]
    cause = detail.get("ctx", {}).get("error")
    name = written(location)
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return Fault(place, *unknown_key(str(location[-1]), _known_keys(location)))
    if kind == "missing":
        return Fault(place, f"{written(location[:-1])} lacks {location[-1]!r}", f"add `{location[-1]}:`")
    if isinstance(cause, InvalidText):
        return Fault(place, f"{name}: {cause.what}", cause.hint)
    what = re.sub(r"^\w+ should", "it should", detail["msg"])
    hint = next((hint for prefix, hint in _HINTS.items() if kind.startswith(prefix)), "see docs/settings.md")
    return Fault(place, f"{name}: {what}", hint)


def _known_keys(location: Location) -> list[str]:
    depth = sum(isinstance(part, str) for part in location)
    return list(key_helps((Settings, TargetSettings, DatabaseSettings)[depth - 1]))
