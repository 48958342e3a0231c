"""Paths in settings: where relative ones start, and manifests that ship with the package."""

from __future__ import annotations

from pathlib import Path

from exporter import bundled
from exporter.parsing.text import InvalidText
from exporter.secret import SecretStr
from exporter.settings.connection.dsn_text import looks_like_dsn
from exporter.settings.values import split_list

_PATHS = frozenset(
    (
        *("manifests", "web_config_file", "dsn_file", "password_file", "data_directory"),
        *("passfile", "sslrootcert", "sslcert", "sslkey"),
    )
)
_LISTS = frozenset(("targets", "databases", "exclude", "manifests"))
# Wrapped at once, so that nothing which logs the values of a source shows them.
_SECRETS = frozenset(("dsn", "password"))


def anchored(name: str, value: object, base: Path) -> object:
    """The value of a setting with every path in it starting at `base`, and every secret wrapped."""
    if isinstance(value, dict):
        return {key: anchored(key, item, base) for key, item in value.items()}
    if name in _LISTS and isinstance(value, str):
        try:
            value = split_list(value)
        except InvalidText:
            return value  # refused later, with its place
    if isinstance(value, list | tuple):
        return [
            _anchored_text(name, item, base) if isinstance(item, str) else anchored(name, item, base)
            for item in value
        ]
    return _anchored_text(name, value, base) if isinstance(value, str) else value


def manifest_path(text: str, base: Path) -> str:
    """The path of a manifest: itself, from `base`, or a bundled one by its bare name."""
    path = base / Path(text).expanduser()
    if path.exists() or "/" in text or looks_like_dsn(text):
        return str(path)
    try:
        folder = bundled.path("indexes")
    except FileNotFoundError:
        return str(path)
    for candidate in (folder / text, folder / f"{text}.yaml"):
        if candidate.is_file():
            return str(candidate)
    return str(path)


def _anchored_text(name: str, text: str, base: Path) -> object:
    if name in _SECRETS:
        return SecretStr(text)
    if name not in _PATHS or looks_like_dsn(text):
        return text
    if name == "manifests":
        return manifest_path(text, base)
    # libpq's word for the system's certificates.
    return text if text == "system" else str(base / Path(text).expanduser())
