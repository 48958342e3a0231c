"""The errors that reach a user, one branch for each kind of reaction.

    ExporterError                 exit 1
      SettingsError               exit 2   settings, flags or environment are wrong
        ManifestError             exit 2   a declared index is wrong; every fault with its place
          ManifestDoesNotFit      exit 1   … or does not fit the database
      TargetError                 exit 4   a database could not be read
        TargetUnreachable                  no answer: host, port, network, server
        TargetDenied                       refused: password, role, privilege
        TargetUnsupported                  not possible there: version, pooler, standby
        TargetTimedOut                     no answer in time
      StepFailed                  exit 1   a step of a migration failed and left nothing behind
        StepLeftBehind            exit 3   … and left something behind, named in the message
      Halted                      exit 4   needs a decision by a person

A message says what happened and where, a hint what to do next; neither contains a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a file: `place` is `file:line`, `hint` says what to do."""

    place: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}; {self.hint}"


class ExporterError(Exception):
    """Base of all errors that are printed as a message instead of a traceback."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  -> {self.hint}" if self.hint else self.what


class SettingsError(ExporterError):
    """Settings, flags or environment variables are wrong."""

    exit_code = 2

    def __init__(self, what: str, *, hint: str | None = None, faults: Sequence[Fault] = ()) -> None:
        super().__init__(what, hint=hint)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        lines = [f"  {fault.place}: {fault.what}\n    -> {fault.hint}" for fault in self.faults]
        return "\n".join([super().__str__(), *lines])


class ManifestError(SettingsError):
    """A manifest is wrong; `faults` lists every fault with its place."""


class ManifestDoesNotFit(ManifestError):
    """A manifest is well-formed, but the database lacks what it names; `faults` lists every fault."""

    exit_code = 1


class TargetError(ExporterError):
    """A database could not be read."""

    exit_code = 4


class TargetUnreachable(TargetError):
    """Nothing answers at the address of the target."""


class TargetDenied(TargetError):
    """The server refused: password, role or privilege."""


class TargetUnsupported(TargetError):
    """The server answers but does not support this."""


class TargetTimedOut(TargetError):
    """The server did not answer in time."""


class StepFailed(ExporterError):
    """A step of a migration failed and left nothing behind."""


class StepLeftBehind(StepFailed):
    """A step of a migration failed and left something behind."""

    exit_code = 3


class Halted(ExporterError):
    """Continuing needs a decision by a person."""

    exit_code = 4
