"""The demo's SQL files by name. They ship with the package and hold no text of a user."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> bytes:
    """The text of sql/NAME.sql, as bytes: psycopg takes those without asking where they come from."""
    return files("exporter.demo").joinpath("sql", f"{name}.sql").read_bytes()
