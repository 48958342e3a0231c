"""The SQL files of the demo by name. They are part of the package and contain no user text."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> bytes:
    """Return the text of sql/NAME.sql as bytes, which psycopg accepts as a trusted query."""
    return files("exporter.demo").joinpath("sql", f"{name}.sql").read_bytes()
