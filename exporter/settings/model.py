"""The settings as a model: every name, type, range and default, and one line on each for docs and --help."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from exporter.parsing.text import InvalidText
from exporter.settings.sources import Location, flag_of, variable_of
from exporter.settings.values import (
    DatabasePatternList,
    DatabasePatternText,
    ExternalUrl,
    FreeBytesList,
    Identifier,
    ListenAddress,
    LogFormat,
    LogLevel,
    OnBlockerWord,
    OnFailureWord,
    OnWaiterWord,
    PathList,
    PathText,
    SessionPatternList,
    SizeBytes,
    SslMode,
    TelemetryPath,
    Watch,
    WordList,
    as_list,
)

# As long as an integer of milliseconds can say, which PostgreSQL's timeouts are.
_LONGEST_SECONDS = 2_147_483
_Budget: TypeAlias = Annotated[float, Field(ge=0, le=_LONGEST_SECONDS, allow_inf_nan=False)]


def _databases(value: object) -> object:
    items = as_list(value)
    if not isinstance(items, list | tuple):
        return items
    # One word alone is a list too where a variable was split at its commas.
    if list(items) == ["all"]:
        return [{"pattern": "*"}]
    return [_described(item) for item in items]


def _described(item: object) -> object:
    if not isinstance(item, str):
        return item
    if item == "all":
        raise InvalidText(
            "`all` among other databases",
            'write `databases: all`, or `pattern: "*"` beside others; a database of that name is {name: all}',
        )
    return {"pattern" if any(sign in item for sign in "*?[") else "name": item}


class DatabaseSettings(BaseModel):
    """One database of a target by its name, or every one that matches a pattern.

    A bare text stands for `{name: …}`, one with *, ? or [ in it for `{pattern: …}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str | None, Field(min_length=1, description="the database's name, as in pg_database")] = (
        None
    )
    pattern: Annotated[
        DatabasePatternText | None,
        Field(description="shell pattern over the names of databases, instead of `name`"),
    ] = None
    exclude: Annotated[
        DatabasePatternList, Field(description="shell patterns over names that `pattern` is not to take")
    ] = ()
    manifests: Annotated[PathList, Field(description="manifests whose indexes belong here")] = ()
    watch: Annotated[Watch | None, Field(description="as at the top, for this database")] = None

    @model_validator(mode="after")
    def _has_a_name_or_a_pattern(self) -> DatabaseSettings:
        if self.name is None and self.pattern is None:
            raise InvalidText("neither name nor pattern is given", "add `name:`, or `pattern:` for several")
        if self.name is not None and self.pattern is not None:
            raise InvalidText("both name and pattern are given", "keep one of them")
        if self.name is not None and self.exclude:
            raise InvalidText("exclude belongs to a pattern", "write `pattern:` instead of `name:`")
        return self


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
        Field(description="names, patterns, or `all` (the one that the DSN names)"),
    ] = ()
    watch: Annotated[Watch | None, Field(description="as at the top, for this target")] = None
    data_directory: Annotated[
        PathText | None, Field(description="its data directory, where it is seen from here")
    ] = None
    free_bytes: Annotated[
        FreeBytesList, Field(description="free space for builds there: `500GB`, or `NAME=2TB`")
    ] = ()


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
    data_directory: Annotated[
        PathText | None, Field(description="the only server's data directory, where it is seen from here")
    ] = None
    free_bytes: Annotated[
        FreeBytesList,
        Field(description="free space there for builds: `500GB`, or `NAME=2TB` of a tablespace"),
    ] = ()
    backup_command: Annotated[
        WordList, Field(description="program and words that prove a backup, instead of the manifest's")
    ] = ()
    backup_timeout_seconds: Annotated[
        float, Field(gt=0, le=86400, allow_inf_nan=False, description="limit of `backup_command`")
    ] = 300.0
    sequential: Annotated[bool, Field(description="build on one table at a time")] = False
    max_parallel: Annotated[
        int, Field(ge=1, le=10_000, description="tables, or partitions, to build on at a time, at most")
    ] = 8
    disk_budget_bytes: Annotated[
        SizeBytes | None,
        Field(
            ge=1, description="what builds may take of the disk at a time, instead of what is free: `200GB`"
        ),
    ] = None
    deadline_seconds: Annotated[
        float, Field(gt=0, le=_LONGEST_SECONDS, allow_inf_nan=False, description="limit of one statement")
    ] = 86400.0
    on_failure: Annotated[
        OnFailureWord, Field(description="when a step fails: `stop-launching`, `continue` or `cancel-all`")
    ] = "stop-launching"
    cancel_on_term: Annotated[
        bool, Field(description="SIGTERM cancels and cleans up; else the server goes on alone")
    ] = False
    quiesce_seconds: Annotated[
        _Budget, Field(description="wait before a build for old transactions that would hold it up later")
    ] = 30.0
    table_budget_seconds: Annotated[
        _Budget, Field(description="give a build up that waited so long for its table; 0 never")
    ] = 600.0
    writers_budget_seconds: Annotated[
        _Budget, Field(description="the same for transactions that wrote to the table")
    ] = 600.0
    snapshots_budget_seconds: Annotated[
        _Budget, Field(description="the same for old snapshots, at its end")
    ] = 3600.0
    on_blocker: Annotated[
        OnBlockerWord, Field(description="sessions that are waited for: `wait`, `cancel` or `terminate`")
    ] = "wait"
    blocker_limit_seconds: Annotated[_Budget, Field(description="… once they were waited for so long")] = (
        300.0
    )
    on_waiter: Annotated[
        OnWaiterWord, Field(description="sessions that queue behind a build: `wait`, `yield` or `cancel`")
    ] = "wait"
    waiter_limit_seconds: Annotated[_Budget, Field(description="… once they have queued so long")] = 3.0
    only_application: Annotated[
        SessionPatternList, Field(description="shell patterns: whom `on_blocker` and `on_waiter` may touch")
    ] = ()
    only_user: Annotated[SessionPatternList, Field(description="the same by the session's role")] = ()
    only_database: Annotated[SessionPatternList, Field(description="the same by its database")] = ()
    web_listen_address: Annotated[ListenAddress, Field(description="address and port to serve")] = ":10187"
    web_telemetry_path: Annotated[TelemetryPath, Field(description="path of the metrics page")] = "/metrics"
    web_config_file: Annotated[
        PathText | None, Field(description="TLS and users: a file in exporter-toolkit's format")
    ] = None
    web_external_url: Annotated[
        ExternalUrl | None, Field(description="URL that Prometheus reaches the exporter under, for /sd")
    ] = None
    web_enable_lifecycle: Annotated[bool, Field(description="allow POST /-/reload")] = False
    scrape_timeout_seconds: Annotated[
        float, Field(gt=0, le=3600, allow_inf_nan=False, description="own limit of one collection")
    ] = 9.5
    connect_timeout_seconds: Annotated[
        float, Field(gt=0, le=600, allow_inf_nan=False, description="limit of one attempt to connect")
    ] = 3.0
    max_databases: Annotated[
        int, Field(ge=1, le=10_000, description="databases of a target found by patterns, at most")
    ] = 50
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

    _file: Path | None = PrivateAttr(default=None)
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
    def file(self) -> Path | None:
        """The YAML file that they were read from, if any was."""
        return self._file

    @property
    def ignored_variables(self) -> tuple[str, ...]:
        """DATA_SOURCE_NAME and PG* where they are set but count for nothing: a server is named elsewhere."""
        return self._ignored_variables

    def place(self, *location: str | int) -> str:
        """Where a setting stands: `file:line`, a variable, a flag, or its name when it is a default."""
        return nearest_place(self._places, location) or str(location[0])

    def is_ad_hoc(self, name: str) -> bool:
        """True when a flag or a variable gave the setting, not the file."""
        return self.place(name) in (flag_of(name), variable_of(name))


def nearest_place(places: Mapping[Location, str], location: Location) -> str | None:
    """The place of a setting, or of the smallest thing around it whose place is known."""
    for length in range(len(location), -1, -1):
        if location[:length] in places:
            return places[location[:length]]
    return None
