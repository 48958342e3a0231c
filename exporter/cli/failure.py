"""An error that ended a command, as text, Markdown and JSON. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from exporter.errors import ExporterError, Fault, SettingsError
from exporter.text import markdown, plain
from exporter.text.content import Content, Item, Section

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Failure:
    """A command and the error that ended it."""

    command: str
    error: ExporterError

    def as_text(self, width: int = plain.WIDTH) -> str:
        """The error for a report in text."""
        return plain.write(self._content(), width)

    def as_markdown(self) -> str:
        """The error as Markdown; names and messages show as they are, whatever they hold."""
        return markdown.write(self._content())

    def as_json(self) -> str:
        """The error as JSON with stable keys, described in docs/report.md. Only ASCII, the rest escaped."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "command": self.command,
            "exit_code": self.error.exit_code,
            "what": self.error.what,
            "hint": self.error.hint,
            "faults": [
                {"place": fault.place, "what": fault.what, "hint": fault.hint} for fault in self._faults
            ],
        }
        return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"

    @property
    def _faults(self) -> tuple[Fault, ...]:
        return self.error.faults if isinstance(self.error, SettingsError) else ()

    def _content(self) -> Content:
        error = Item("error", self.error.what, hint=self.error.hint)
        faults = (Item("", f"{fault.place}: {fault.what}", hint=fault.hint) for fault in self._faults)
        return Content(
            self.command,
            (),
            (f"The command failed with exit code {self.error.exit_code}.",),
            (Section("Why", (error, *faults)),),
        )
