"""The types of single settings: lists that may be written as one text, addresses, watch patterns.

A wrong value raises InvalidText, which never repeats the value.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from exporter.model import WatchAll, WatchDeclared
from exporter.parsing.text import InvalidText, parse_identifier
from exporter.secret import SecretStr
from exporter.settings.annotations import After, Before, Only, Range, Sealed, Text
from exporter.settings.connection.dsn_text import looks_like_dsn
from exporter.yamlfile.reader import FaultList, parse_yaml, plain

_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]*|\[[0-9A-Fa-f:.%]+\]):([0-9]{1,5})")
_TELEMETRY_PATH = re.compile(r"/[A-Za-z0-9_./~-]+")
_EXTERNAL_URL = re.compile(
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?((?:/[A-Za-z0-9_.~-]+)*)/?"
)
_SIZE = re.compile(r"(?P<number>[0-9]{1,18}(?:\.[0-9]{1,6})?)\s*(?P<unit>kB|[MGTP]B)?", re.IGNORECASE)
_SIZE_UNITS = ("", "KB", "MB", "GB", "TB", "PB")
_RESERVED_PATHS = ("/probe", "/sd", "/-", "/-/")


def split_list(text: str) -> list[object]:
    """The items of a list that is written as one text: JSON, or separated by commas.

    Raises: InvalidText.
    """
    if not text.lstrip().startswith(("[", "{")):
        return [item.strip() for item in text.split(",") if item.strip()]
    faults = FaultList("")
    document = parse_yaml(text, faults)
    value = None if document is None or faults.found else plain(document)
    if not isinstance(value, list):
        raise InvalidText("a list that is not valid JSON", 'write ["one", "two"], or one,two')
    return value


def as_list(value: object) -> object:
    """A list from its text form, or from a single mapping; anything else unchanged."""
    if isinstance(value, str):
        return split_list(value)
    return [value] if isinstance(value, dict) else value


def _no_dsn(value: str) -> str:
    if not value.strip() or "\0" in value or looks_like_dsn(value):
        raise InvalidText("not a path", "give the path of a file; a connection string belongs to `dsn`")
    return value


def _watch(value: object) -> WatchDeclared | WatchAll | tuple[str, ...]:
    patterns = as_list(value)
    if not isinstance(patterns, list | tuple) or not patterns:
        raise InvalidText("not declared, all or patterns", "write declared, all, or a list of patterns")
    # A repeatable flag that was given once has a list of one word.
    if list(patterns) == ["declared"]:
        return "declared"
    if list(patterns) == ["all"]:
        return "all"
    kept: list[str] = []
    for pattern in patterns:
        if not isinstance(pattern, str) or pattern in ("declared", "all"):
            raise InvalidText("a list of patterns holds something else", "write `declared` or `all` alone")
        if "." not in pattern and not pattern.startswith("*"):
            raise InvalidText(
                "a pattern without a schema matches no index",
                "write schema.pattern: public.idx_* or *.idx_*",
            )
        kept.append(pattern)
    return tuple(kept)


def _database_pattern(value: str) -> str:
    if not value.strip() or "\0" in value or looks_like_dsn(value):
        raise InvalidText("not a pattern over names of databases", "write one like nova_*")
    return value


def _identifier(value: str) -> str:
    if looks_like_dsn(value):
        raise InvalidText("a connection string where a name is wanted", "give it as `dsn`")
    return parse_identifier(value)


def _listen_address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or int(match[1]) > 65535:
        raise InvalidText("not an address to listen on", "write :10187, 127.0.0.1:10187 or [::1]:10187")
    return value


def _telemetry_path(value: str) -> str:
    if not _TELEMETRY_PATH.fullmatch(value) or value.startswith("/-/") or value in _RESERVED_PATHS:
        raise InvalidText("not a path for the metrics page", "write /metrics or another unused path")
    return value


def _external_url(value: str) -> str:
    match = _EXTERNAL_URL.fullmatch(value)
    if match is None or int(match[1] or 0) > 65535:
        raise InvalidText(
            "not a URL that Prometheus could scrape",
            "write https://metrics.example.org or http://host:10187/path",
        )
    return value.rstrip("/")


def parse_free_bytes(value: str) -> tuple[str, int]:
    """A tablespace's name, empty for the database's own, and how many bytes are free there.

    Raises: InvalidText.
    """
    name, _, size = value.rpartition("=")
    size_bytes = _size_bytes(size)
    if size_bytes is None or looks_like_dsn(value):
        raise InvalidText("not a size", "write 500GB, or NAME=2TB for a tablespace")
    return (parse_identifier(name) if name.strip() else ""), size_bytes


def _size_bytes(text: str) -> int | None:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    factor: int = 1024 ** _SIZE_UNITS.index((match["unit"] or "").upper())
    return round(float(match["number"]) * factor)


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    size_bytes = _size_bytes(value)
    if size_bytes is None:
        raise InvalidText("not a size", "write 500GB, or a number of bytes")
    return size_bytes


def _session_pattern(value: str) -> str:
    if not value.strip() or "\0" in value or looks_like_dsn(value):
        raise InvalidText("not a pattern over sessions", "write one like nightly-*, or * for all sessions")
    return value


def _free_bytes(value: str) -> str:
    parse_free_bytes(value)
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


# Integers of milliseconds end there, which PostgreSQL's timeouts are.
_LONGEST_SECONDS = 2_147_483

Watch: TypeAlias = Annotated[WatchDeclared | WatchAll | tuple[str, ...], Only(_watch)]
Secret: TypeAlias = Annotated[SecretStr, Sealed()]
TargetName: TypeAlias = Annotated[str, Text(pattern=r"^[A-Za-z0-9_.:-]{1,63}$")]
DatabaseName: TypeAlias = Annotated[str, Text(min_length=1)]
Identifier: TypeAlias = Annotated[str, After(_identifier)]
Port: TypeAlias = Annotated[int, Range(least=1, most=65535)]
ListenAddress: TypeAlias = Annotated[str, After(_listen_address)]
ExternalUrl: TypeAlias = Annotated[str, After(_external_url)]
TelemetryPath: TypeAlias = Annotated[str, After(_telemetry_path)]
PathText: TypeAlias = Annotated[str, After(_no_dsn)]
SizeBytes: TypeAlias = Annotated[int, Range(least=1), Before(_size)]
BudgetSeconds: TypeAlias = Annotated[float, Range(least=0, most=_LONGEST_SECONDS)]
LimitSeconds: TypeAlias = Annotated[float, Range(above=0, most=_LONGEST_SECONDS)]
PathList: TypeAlias = Annotated[tuple[PathText, ...], Before(as_list)]
WordList: TypeAlias = Annotated[tuple[str, ...], Before(as_list)]
DatabasePattern: TypeAlias = Annotated[str, After(_database_pattern)]
DatabasePatternList: TypeAlias = Annotated[tuple[DatabasePattern, ...], Before(as_list)]
SessionPatternList: TypeAlias = Annotated[
    tuple[Annotated[str, After(_session_pattern)], ...], Before(as_list)
]
FreeBytesList: TypeAlias = Annotated[tuple[Annotated[str, After(_free_bytes)], ...], Before(as_list)]
OnFailureWord: TypeAlias = Annotated[Literal["stop-launching", "continue", "cancel-all"], Before(_lower)]
OnBlockerWord: TypeAlias = Annotated[Literal["wait", "cancel", "terminate"], Before(_lower)]
OnWaiterWord: TypeAlias = Annotated[Literal["wait", "yield", "cancel"], Before(_lower)]
LogLevel: TypeAlias = Annotated[Literal["debug", "info", "warning", "error"], Before(_lower)]
LogFormat: TypeAlias = Annotated[Literal["logfmt", "json"], Before(_lower)]
SslMode: TypeAlias = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
