"""How a reload of the settings ended: for the reloader that does it, and for HTTP that reports it."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.errors import Fault


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """With `faults` everything stays as it was; `needs_restart` names settings that apply after a restart."""

    faults: tuple[Fault, ...] = ()
    needs_restart: tuple[str, ...] = ()
