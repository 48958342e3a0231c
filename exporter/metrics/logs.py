"""Log lines on standard error: logfmt or JSON, one record a line, `extra` as further keys."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Literal

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BARE = re.compile(r"[\w./:+-]+")


class LogfmtFormatter(logging.Formatter):
    """`time=… level=… logger=… msg=…` and the record's own keys; what needs quotes is a JSON string."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        return " ".join(f"{key}={_logfmt_value(value)}" for key, value in _fields(self, record).items())


class JsonFormatter(logging.Formatter):
    """The same keys as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        return _shown(_fields(self, record))


def configure_logging(level: str, log_format: Literal["logfmt", "json"]) -> None:
    """Sends every record of `level` and above to standard error; replaces what was configured before."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else LogfmtFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, object]:
    moment = datetime.fromtimestamp(record.created, UTC)
    fields: dict[str, object] = {
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "msg": record.getMessage(),
    }
    fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info:
        fields["exception"] = formatter.formatException(record.exc_info)
    return fields


def _logfmt_value(value: object) -> str:
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    text = str(value)
    return text if _BARE.fullmatch(text) else _shown(text)


def _shown(value: object) -> str:
    """The value as JSON, without a character that a terminal would act upon."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in text
    )
