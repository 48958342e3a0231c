"""A run in front of a person: the plan and the question, the steps under way, the last line."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from exporter.cli.documents import plan_report_of
from exporter.cli.output import text_width
from exporter.errors import SettingsError
from exporter.migrate import report
from exporter.migrate.assessment import Assessment
from exporter.migrate.events import Event
from exporter.model import Database, Outcome
from exporter.postgres.target import address
from exporter.terminal.display import BuildDisplay
from exporter.text.plain import WIDTH, width_for


@dataclass(slots=True)
class RunOnScreen:
    """One run in one database; `is_confirmed` when the command line has answered the question."""

    console: Console
    database: Database
    is_confirmed: bool
    pauses: bool = False
    display: BuildDisplay = field(init=False)
    is_declined: bool = False

    def __post_init__(self) -> None:
        self.display = BuildDisplay(self.console)

    def confirm(self, situation: Assessment) -> bool:
        """True when the plan, which is shown here, is to be carried out.

        Raises: SettingsError when there is no terminal to ask on.
        """
        self.display.step_count = len(situation.plan.steps)
        width = width_for(self.console.width) if self.console.is_terminal else WIDTH
        shown = report.plan_as_text(plan_report_of(self.database, situation), width)
        self.console.print(shown, markup=False, highlight=False, soft_wrap=True)
        if self.is_confirmed:
            return True
        if not (sys.stdin.isatty() and self.console.is_terminal):
            raise SettingsError(
                "this changes the database, and standard input is not a terminal to ask on",
                hint="add --yes, or --dry-run",
            )
        # The plan may have scrolled away by now.
        self.console.print(
            f"In {address(self.database)}:\n{report.work_to_do(situation.plan)}",
            markup=False,
            highlight=False,
        )
        self.is_declined = not self._is_agreed()
        if self.is_declined:
            self.console.print("Nothing was touched.", highlight=False)
        return not self.is_declined

    def _is_agreed(self) -> bool:
        try:
            answer = self.console.input(Text("Go on? [y/N] "))
        except EOFError:
            self.console.print()
            return False
        except KeyboardInterrupt:
            self.console.print("\nNothing was touched.", highlight=False)
            raise
        return answer.strip().lower() in ("y", "yes")

    @contextmanager
    def shown_while_building(self) -> Iterator[Callable[[Event], None]]:
        """The display, started by the first event: a question to the user must not meet a live bar."""
        entered = False
        entering = threading.Lock()

        def on_event(event: Event) -> None:
            nonlocal entered
            # Tables begin side by side: two first events would start two displays.
            with entering:
                if not entered:
                    self.display.__enter__()
                    entered = True
            self.display(event)

        try:
            yield on_event
        finally:
            if entered:
                self.display.__exit__()
                if sys.stdout.isatty():
                    # What follows there is the report.
                    self.console.print()

    def conclude(self, outcome: Outcome) -> None:
        """Says at the end of a long report what it begins with, where that has scrolled away."""
        is_scrolled = report.as_text(outcome, text_width()).count("\n") >= self.console.height
        if sys.stdout.isatty() and is_scrolled and not self.is_declined:
            told = f"\n{' '.join(report.summary(outcome))} Exit code {report.exit_code(outcome)}."
            self.console.print(told, markup=False, highlight=False)
