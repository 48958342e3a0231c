"""Reloading the settings on request: what the web server needs of it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from exporter.errors import Fault


@dataclass(frozen=True, slots=True)
class Reload:
    """The result of a reload: with `faults` nothing changed; `fixed` settings need a restart."""

    faults: tuple[Fault, ...] = ()
    fixed: tuple[str, ...] = ()


class Lifecycle(Protocol):
    """What reloads the settings."""

    @property
    def is_enabled(self) -> bool:
        """Return True if HTTP requests may cause a reload."""
        ...

    def request(self) -> Awaitable[Reload]:
        """Request a reload; return its result when it is done."""
        ...
