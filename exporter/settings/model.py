"""The settings: every name, type, range and default, and one line on each for docs and `--help`.

The dataclasses are read by pydantic where settings are loaded (`loading`), by the parser for its flags
(`reference`), and by the rooms that the settings are for. They need nothing of pydantic themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from exporter.errors import Fault
from exporter.model import BACKUP_TIMEOUT_SECONDS
from exporter.parsing.text import InvalidText
from exporter.settings.annotations import Before, Help, Range
from exporter.settings.names import Location, flag_of, nearest_place, variable_of
from exporter.settings.values import (
    BudgetSeconds,
    DatabaseName,
    DatabasePattern,
    DatabasePatternList,
    ExternalUrl,
    FreeBytesList,
    Identifier,
    LimitSeconds,
    ListenAddress,
    LogFormat,
    LogLevel,
    OnBlockerWord,
    OnFailureWord,
    OnWaiterWord,
    PathList,
    PathText,
    Port,
    Secret,
    SessionPatternList,
    SizeBytes,
    SslMode,
    TargetName,
    TelemetryPath,
    Watch,
    WordList,
    as_list,
)

# The name of the target that `dsn` or libpq's variables make.
DEFAULT_TARGET = "default"


def _databases(value: object) -> object:
    items = as_list(value)
    if not isinstance(items, list | tuple):
        return items
    # A variable is split at its commas, so one word is a list too.
    if list(items) == ["all"]:
        return [{"pattern": "*"}]
    return [_database(item) for item in items]


def _database(item: object) -> object:
    if not isinstance(item, str):
        return item
    if item == "all":
        raise InvalidText(
            "`all` among other databases",
            'write `databases: all`, or `pattern: "*"` beside others; a database of that name is {name: all}',
        )
    return {"pattern" if any(sign in item for sign in "*?[") else "name": item}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """One database of a target by its name, or every one that matches a pattern.

    A text is short for `{name: …}`, one with *, ? or [ in it for `{pattern: …}`.
    """

    name: Annotated[DatabaseName | None, Help("the database's name, as in pg_database")] = None
    pattern: Annotated[
        DatabasePattern | None, Help("shell pattern for the names of databases, instead of `name`")
    ] = None
    exclude: Annotated[
        DatabasePatternList, Help("shell patterns for names that `pattern` must not match")
    ] = ()
    manifests: Annotated[PathList, Help("manifests whose indexes belong here: files or folders")] = ()
    watch: Annotated[Watch | None, Help("as at the top, for this database")] = None

    def __post_init__(self) -> None:
        if self.name is None and self.pattern is None:
            raise InvalidText("neither name nor pattern is given", "add `name:`, or `pattern:` for several")
        if self.name is not None and self.pattern is not None:
            raise InvalidText("both name and pattern are given", "keep one of them")
        if self.name is not None and self.exclude:
            raise InvalidText("exclude belongs to a pattern", "write `pattern:` instead of `name:`")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """One PostgreSQL server: a DSN, or its parts, or a DSN and the parts that it leaves out."""

    name: Annotated[TargetName, Help("as in /probe?target=NAME")]
    dsn: Annotated[Secret | None, Help("libpq connection string")] = None
    dsn_file: Annotated[PathText | None, Help("file that holds the DSN")] = None
    host: Annotated[str | None, Help("name, address or directory of the socket")] = None
    hostaddr: Annotated[str | None, Help("address to connect to; `host` is then only verified")] = None
    port: Annotated[Port | None, Help("TCP port (5432)")] = None
    user: Annotated[str | None, Help("role (the operating system's user)")] = None
    password: Annotated[Secret | None, Help("password; better in a file")] = None
    password_file: Annotated[PathText | None, Help("file that holds the password")] = None
    passfile: Annotated[PathText | None, Help("file in the format of ~/.pgpass")] = None
    sslmode: Annotated[SslMode | None, Help("libpq's sslmode (prefer)")] = None
    sslrootcert: Annotated[PathText | None, Help("certificates to trust")] = None
    sslcert: Annotated[PathText | None, Help("client certificate")] = None
    sslkey: Annotated[PathText | None, Help("key of the client certificate")] = None
    databases: Annotated[
        tuple[DatabaseSettings, ...],
        Before(_databases),
        Help("names, patterns, or `all` (the database that the DSN names)"),
    ] = ()
    watch: Annotated[Watch | None, Help("as at the top, for this target")] = None
    data_directory: Annotated[PathText | None, Help("its data directory, as mounted here")] = None
    free_bytes: Annotated[FreeBytesList, Help("free space for builds there: `500GB`, or `NAME=2TB`")] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """What belongs to settings beside their values.

    `file` is the YAML file, `places` says where each value was given. `ignored_variables` are
    DATA_SOURCE_NAME and PG* variables that are set but ignored, because a server is named elsewhere; `notes`
    say what follows from that. `service_files` may define the service that a DSN names.
    """

    file: Path | None = None
    places: Mapping[Location, str] = field(default_factory=dict)
    ignored_variables: tuple[str, ...] = ()
    notes: tuple[Fault, ...] = ()
    service_files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, validated. Their defaults are the only ones; `place` says where a value was given."""

    targets: Annotated[
        tuple[TargetSettings, ...],
        Before(as_list),
        Help("the servers, each with its databases and their manifests"),
    ] = ()
    dsn: Annotated[
        Secret | None,
        Help(
            "connection string of one server, the target `default`; put passwords in files or variables",
            "DSN",
        ),
    ] = None
    dsn_file: Annotated[PathText | None, Help("file that holds `dsn`")] = None
    manifests: Annotated[
        PathList, Help("manifests of the only database: files, folders, or names of bundled ones", "PATH")
    ] = ()
    watch: Annotated[
        Watch,
        Help("indexes beside the declared: `declared` (none), `all`, or patterns (public.idx_*)", "PATTERN"),
    ] = "declared"
    journal_schema: Annotated[Identifier, Help("schema of migration_events and migration_log", "SCHEMA")] = (
        "public"
    )
    data_directory: Annotated[
        PathText | None, Help("the only server's data directory, as mounted here", "DIR")
    ] = None
    free_bytes: Annotated[
        FreeBytesList,
        Help("free space for builds there: `500GB`, or `NAME=2TB` of a tablespace", "SIZE"),
    ] = ()
    backup_command: Annotated[
        WordList, Help("program, then its arguments: exit code 0 proves a backup", "WORD")
    ] = ()
    backup_timeout_seconds: Annotated[
        float, Range(above=0, most=86400), Help("limit of `backup_command`")
    ] = BACKUP_TIMEOUT_SECONDS
    sequential: Annotated[bool, Help("build on one table at a time")] = False
    max_parallel: Annotated[
        int, Range(least=1, most=10_000), Help("at most this many tables or partitions to build on at a time")
    ] = 8
    disk_budget_bytes: Annotated[
        SizeBytes | None,
        Help("disk space that builds at a time may take, instead of what is free: `200GB`", "SIZE"),
    ] = None
    deadline_seconds: Annotated[LimitSeconds, Help("limit of one statement on the server")] = 86400.0
    on_failure: Annotated[
        OnFailureWord, Help("when a step fails: start no others, run them all the same, or cancel them")
    ] = "stop-launching"
    cancel_on_term: Annotated[
        bool, Help("SIGTERM cancels the builds and cleans up; without it the server goes on building")
    ] = False
    quiesce_seconds: Annotated[
        BudgetSeconds, Help("wait before a build for old transactions that would delay it later")
    ] = 30.0
    table_budget_seconds: Annotated[
        BudgetSeconds, Help("abandon a build after waiting this long for the table lock; 0 is no limit")
    ] = 600.0
    writers_budget_seconds: Annotated[
        BudgetSeconds, Help("… after waiting this long for transactions that write to the table")
    ] = 600.0
    snapshots_budget_seconds: Annotated[
        BudgetSeconds, Help("… after waiting this long for old snapshots, in its last phase")
    ] = 3600.0
    on_blocker: Annotated[
        OnBlockerWord, Help("when a build waits for sessions: let them, cancel or terminate them")
    ] = "wait"
    blocker_limit_seconds: Annotated[
        BudgetSeconds, Help("how long a build waits for them before `on_blocker` acts")
    ] = 300.0
    on_waiter: Annotated[
        OnWaiterWord,
        Help("when sessions wait for a build: let them, give the table up and retry, or cancel them"),
    ] = "wait"
    waiter_limit_seconds: Annotated[BudgetSeconds, Help("how long they wait before `on_waiter` acts")] = 3.0
    only_application: Annotated[
        SessionPatternList,
        Help("`on_blocker` and `on_waiter` act only on sessions of these applications", "PATTERN"),
    ] = ()
    only_user: Annotated[SessionPatternList, Help("… only on sessions of these roles", "PATTERN")] = ()
    only_database: Annotated[
        SessionPatternList, Help("… only on sessions of these databases", "PATTERN")
    ] = ()
    web_listen_address: Annotated[ListenAddress, Help("address and port to listen on", "HOST:PORT")] = (
        ":10187"
    )
    web_telemetry_path: Annotated[TelemetryPath, Help("path of the metrics page", "PATH")] = "/metrics"
    web_config_file: Annotated[
        PathText | None, Help("TLS, client certificates and users: exporter-toolkit's web configuration")
    ] = None
    web_external_url: Annotated[
        ExternalUrl | None, Help("URL under which Prometheus reaches the exporter, for /sd", "URL")
    ] = None
    web_enable_lifecycle: Annotated[bool, Help("allow POST /-/reload")] = False
    scrape_timeout_seconds: Annotated[
        float, Range(above=0, most=3600), Help("limit of one scrape; Prometheus' own timeout counts too")
    ] = 9.5
    connect_timeout_seconds: Annotated[
        float, Range(above=0, most=600), Help("limit of one attempt to connect")
    ] = 3.0
    max_databases: Annotated[
        int,
        Range(least=1, most=10_000),
        Help("at most this many databases of a target by patterns"),
    ] = 50
    max_indexes: Annotated[
        int,
        Range(least=1, most=1_000_000),
        Help("at most this many watched indexes of a database beside the declared"),
    ] = 10_000
    max_statements: Annotated[
        int,
        Range(least=0, most=100_000),
        Help("at most this many statements of a database; 0 for none"),
    ] = 500
    query_text: Annotated[bool, Help("publish the texts of statements")] = True
    query_text_length: Annotated[
        int, Range(least=1, most=100_000), Help("at most this many characters of a statement's text")
    ] = 300
    log_level: Annotated[LogLevel, Help("least severity that is logged")] = "info"
    log_format: Annotated[LogFormat, Help("format of log lines")] = "logfmt"

    origin: Origin = field(default_factory=Origin, compare=False, repr=False)

    @property
    def ignored_variables(self) -> tuple[str, ...]:
        """DATA_SOURCE_NAME and PG* variables that are set but ignored: a server is named elsewhere."""
        return self.origin.ignored_variables

    def place(self, *location: str | int) -> str:
        """Where a setting was given: `file:line`, a variable, a flag; its name where it is a default."""
        return nearest_place(self.origin.places, location) or str(location[0])

    def changes(self, other: Settings) -> tuple[str, ...]:
        """The names of the settings that have another value there."""
        names = (item.name for item in fields(self) if item.compare)
        return tuple(name for name in names if getattr(self, name) != getattr(other, name))

    def is_ad_hoc(self, name: str) -> bool:
        """True when a flag or a variable gave the setting, not the file."""
        return self.place(name) in (flag_of(name), variable_of(name))


DEFAULTS = Settings()
