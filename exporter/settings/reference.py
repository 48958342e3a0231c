"""What docs and `--help` say of each setting, taken from the fields of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

from exporter.settings.annotations import Help
from exporter.settings.model import DatabaseSettings, Settings, TargetSettings
from exporter.settings.names import flag_of, variable_of

_Section = type[Settings] | type[TargetSettings] | type[DatabaseSettings]


@dataclass(frozen=True, slots=True)
class SettingReference:
    """One setting: `flag` is empty where there is none, `words` are the only ones it takes.

    `default` is empty where there is none; `help` is Markdown.
    """

    name: str
    flag: str
    variable: str
    default: str
    help: str
    metavar: str
    words: tuple[str, ...]
    is_switch: bool
    is_list: bool

    @property
    def help_with_words(self) -> str:
        """The help and the words that may be given, in Markdown."""
        if not self.words:
            return self.help
        *others, last = (f"`{word}`" for word in self.words)
        return f"{self.help} ({', '.join(others)} or {last})"


@cache
def setting_references() -> Mapping[str, SettingReference]:
    """Every top-level setting by name, in the order of the model."""
    defaults = {item.name: item.default for item in fields(Settings)}
    return {
        name: _reference(name, hint, help_, defaults[name])
        for name, (hint, help_) in _helped(Settings).items()
    }


def key_helps(section: _Section) -> dict[str, str]:
    """The keys of a mapping in the settings file, each with its line of help, in Markdown."""
    return {name: help_.text for name, (_, help_) in _helped(section).items()}


def setting_types(section: _Section) -> dict[str, object]:
    """The type of each setting, with all that its annotations say."""
    return {name: hint for name, (hint, _) in _helped(section).items()}


def _helped(section: _Section) -> dict[str, tuple[object, Help]]:
    found: dict[str, tuple[object, Help]] = {}
    for name, hint in get_type_hints(section, include_extras=True).items():
        for part in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
            if isinstance(part, Help):
                found[name] = hint, part
    return found


def _reference(name: str, hint: object, help_: Help, default: object) -> SettingReference:
    kinds = set(_kinds(hint))
    words = tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))
    is_list = any(get_origin(kind) is tuple for kind in kinds)
    # `watch` takes patterns beside its words.
    words = () if is_list else words
    return SettingReference(
        name=name,
        flag="" if name == "targets" else flag_of(name),
        variable=variable_of(name),
        default=_shown(default),
        help=help_.text,
        metavar=help_.metavar or ("|".join(words) or _metavar(kinds)),
        words=words,
        is_switch=bool in kinds,
        is_list=is_list,
    )


def _kinds(hint: object) -> Iterator[object]:
    """The plain types that a value may have: without annotations, each part of a union."""
    if get_origin(hint) is Annotated:
        yield from _kinds(get_args(hint)[0])
    elif get_origin(hint) in (Literal, tuple) or not get_args(hint):
        yield hint
    else:
        for part in get_args(hint):
            yield from _kinds(part)


def _metavar(kinds: set[object]) -> str:
    return "SECONDS" if float in kinds else "N" if int in kinds else "FILE"


def _shown(default: object) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, float):
        return f"{default:g}" if default < 100_000 else f"{default:.0f}"
    return str(default).lower() if isinstance(default, bool) else str(default)
