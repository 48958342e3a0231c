"""Standard error for people. A display that cannot be written must not end the work that it shows."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console

from exporter.cli.output import give_up_stream


class MessageConsole(Console):
    """A console on standard error that falls silent when it cannot be written."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def print(self, *objects: object, **options: Any) -> None:
        """Print as rich does, unless standard error cannot be written: its disk can be full."""
        try:
            super().print(*objects, **options)
        except OSError:
            self.quiet = True

    def on_broken_pipe(self) -> None:
        """Fall silent; rich would end the process here."""
        self.quiet = True
        give_up_stream(sys.stderr)
