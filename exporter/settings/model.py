"""The settings as a model: every name, type, range and default, and one line on each for docs and --help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from exporter.settings.sources import Location
from exporter.settings.values import (
    Identifier,
    ListenAddress,
    LogFormat,
    LogLevel,
    PathList,
    PathText,
    SslMode,
    TelemetryPath,
    Watch,
    as_list,
)


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _databases(value: object) -> object:
    items = as_list(value)
    return [_named(item) for item in items] if isinstance(items, list | tuple) else items


class DatabaseSettings(BaseModel):
    """One database of a target. A bare name stands for `{name: …}`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, Field(min_length=1, description="the database's name, as in pg_database")]
    manifests: Annotated[PathList, Field(description="manifests whose indexes belong here")] = ()
    watch: Annotated[Watch | None, Field(description="as at the top, for this database")] = None


class TargetSettings(BaseModel):
    """One PostgreSQL server: a DSN, or its parts, or a DSN with the parts that it leaves out."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,63}$", description="as in /probe?target=NAME")]
    dsn: Annotated[SecretStr | None, Field(description="libpq connection string")] = None
    dsn_file: Annotated[PathText | None, Field(description="file that holds the DSN")] = None
    host: Annotated[str | None, Field(description="name, address or directory of the socket")] = None
    hostaddr: Annotated[str | None, Field(description="address, where host is only to be verified")] = None
    port: Annotated[int | None, Field(ge=1, le=65535, description="TCP port (5432)")] = None
    user: Annotated[str | None, Field(description="role (the operating system's user)")] = None
    password: Annotated[SecretStr | None, Field(description="password; better in a file")] = None
    password_file: Annotated[PathText | None, Field(description="file that holds the password")] = None
    passfile: Annotated[PathText | None, Field(description="file in the format of ~/.pgpass")] = None
    sslmode: Annotated[SslMode | None, Field(description="as libpq's (prefer)")] = None
    sslrootcert: Annotated[PathText | None, Field(description="certificates to trust")] = None
    sslcert: Annotated[PathText | None, Field(description="client certificate")] = None
    sslkey: Annotated[PathText | None, Field(description="key of the client certificate")] = None
    databases: Annotated[
        tuple[DatabaseSettings, ...],
        BeforeValidator(_databases),
        Field(description="the databases (the one that the DSN names)"),
    ] = ()
    watch: Annotated[Watch | None, Field(description="as at the top, for this target")] = None


class Settings(BaseSettings):
    """All settings, validated. `place` tells where each one stands."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    targets: Annotated[
        tuple[TargetSettings, ...],
        BeforeValidator(as_list),
        Field(description="the servers, each with its databases and their manifests"),
    ] = ()
    dsn: Annotated[
        SecretStr | None, Field(description="connection string of one server, named `default`")
    ] = None
    dsn_file: Annotated[PathText | None, Field(description="file that holds `dsn`")] = None
    manifests: Annotated[
        PathList, Field(description="manifests of the only database, or bare names of bundled ones")
    ] = ()
    watch: Annotated[Watch, Field(description="`declared`, `all`, or patterns over schemaname.indexname")] = (
        "declared"
    )
    journal_schema: Annotated[
        Identifier, Field(description="schema of migration_events and migration_log")
    ] = "public"
    web_listen_address: Annotated[ListenAddress, Field(description="address and port to serve")] = ":10187"
    web_telemetry_path: Annotated[TelemetryPath, Field(description="path of the metrics page")] = "/metrics"
    web_config_file: Annotated[
        PathText | None, Field(description="TLS and users: a file in exporter-toolkit's format")
    ] = None
    web_enable_lifecycle: Annotated[bool, Field(description="allow POST /-/reload")] = False
    scrape_timeout_seconds: Annotated[
        float, Field(gt=0, le=3600, allow_inf_nan=False, description="own limit of one collection")
    ] = 9.5
    connect_timeout_seconds: Annotated[
        float, Field(gt=0, le=600, allow_inf_nan=False, description="limit of one attempt to connect")
    ] = 3.0
    max_indexes: Annotated[
        int, Field(ge=1, le=1_000_000, description="watched indexes of a database, at most")
    ] = 10_000
    max_statements: Annotated[
        int, Field(ge=0, le=100_000, description="statements of a database, at most")
    ] = 500
    query_text: Annotated[bool, Field(description="export the texts of statements")] = True
    query_text_length: Annotated[
        int, Field(ge=1, le=100_000, description="characters of a statement's text, at most")
    ] = 300
    log_level: Annotated[LogLevel, Field(description="`debug`, `info`, `warning` or `error`")] = "info"
    log_format: Annotated[LogFormat, Field(description="`logfmt` or `json`")] = "logfmt"

    _places: dict[Location, str] = PrivateAttr(default_factory=dict)
    _ignored_variables: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: load_settings brings its own sources, which know their places."""
        return (init_settings,)

    @property
    def ignored_variables(self) -> tuple[str, ...]:
        """DATA_SOURCE_NAME and PG* where they are set but count for nothing: a server is named elsewhere."""
        return self._ignored_variables

    def place(self, *location: str | int) -> str:
        """Where a setting stands: `file:line`, a variable, a flag, or its name when it is a default."""
        return nearest_place(self._places, location) or str(location[0])


def nearest_place(places: Mapping[Location, str], location: Location) -> str | None:
    """The place of a setting, or of the smallest thing around it whose place is known."""
    for length in range(len(location), -1, -1):
        if location[:length] in places:
            return places[location[:length]]
    return None
