"""What a field's type carries beside the type: its help, its range, how its texts are read.

pydantic acts on these by its protocol (`__get_pydantic_core_schema__`) and is imported only then: the process
that serves holds the settings and never validates any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

from exporter.secret import SecretStr

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class Help:
    """One line on a field for docs and `--help`; `metavar` where the type does not imply it."""

    text: str
    metavar: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The limits of a number: `least` and `most` are allowed, `above` is not."""

    least: float | None = None
    above: float | None = None
    most: float | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        allow_inf_nan = False if schema["type"] == "float" else None
        limits = {"ge": self.least, "gt": self.above, "le": self.most, "allow_inf_nan": allow_inf_nan}
        return _extended(schema, limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The form of a text: a regular expression that it matches, and its least length in characters."""

    pattern: str | None = None
    min_length: int | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _extended(handler(source), asdict(self))


@dataclass(frozen=True, slots=True)
class Before:
    """A conversion of what was given, before its type is checked."""

    convert: Callable[[object], object]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.convert, handler(source))


@dataclass(frozen=True, slots=True)
class After:
    """A check or conversion of a text, after its type was checked."""

    convert: Callable[[str], object]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.convert, handler(source))


@dataclass(frozen=True, slots=True)
class Only:
    """A conversion in place of the check of the type."""

    convert: Callable[[object], object]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.convert)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A text that becomes a SecretStr; sources wrap what they read at once, so it may be one already."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        text = core_schema.no_info_before_validator_function(_unwrapped, core_schema.str_schema())
        return core_schema.no_info_after_validator_function(SecretStr, text)


def _unwrapped(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _extended(schema: CoreSchema, constraints: Mapping[str, object]) -> CoreSchema:
    """The schema with those constraints that are not None."""
    given = {name: value for name, value in constraints.items() if value is not None}
    cast("dict[str, object]", schema).update(given)
    return schema
