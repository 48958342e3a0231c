"""A run in front of a person: the plan and the questions, the running steps, the last line."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from exporter.cli.documents import plan_report_of
from exporter.cli.output import text_width
from exporter.errors import SettingsError
from exporter.migrate import report
from exporter.migrate.assessment import Assessment
from exporter.migrate.events import Detach, Event, StepAnswer
from exporter.migrate.report import step_as_text
from exporter.model import Database, Outcome, Step
from exporter.postgres.target import address
from exporter.terminal.display import BuildDisplay
from exporter.text.plain import WIDTH, width_for

_ANSWERS = {
    "c": StepAnswer.CONTINUE,
    "continue": StepAnswer.CONTINUE,
    "y": StepAnswer.CONTINUE,
    "yes": StepAnswer.CONTINUE,
    "s": StepAnswer.SKIP,
    "skip": StepAnswer.SKIP,
    "q": StepAnswer.STOP,
    "quit": StepAnswer.STOP,
    "stop": StepAnswer.STOP,
    "n": StepAnswer.STOP,
    "no": StepAnswer.STOP,
}


@dataclass(slots=True)
class RunOnScreen:
    """One run in one database; `is_confirmed` when the command line has answered the first question."""

    console: Console
    database: Database
    is_confirmed: bool
    display: BuildDisplay = field(init=False)
    is_declined: bool = False
    _is_displayed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.display = BuildDisplay(self.console)

    @property
    def can_ask(self) -> bool:
        """True when a person is at the terminal."""
        return sys.stdin.isatty() and self.console.is_terminal

    def confirm(self, assessment: Assessment) -> bool:
        """True when the plan, which is shown here, is to be carried out.

        Raises: SettingsError when there is no terminal to ask on.
        """
        self.display.step_count = len(assessment.plan.steps)
        shown = report.plan_as_text(plan_report_of(self.database, assessment), self._width)
        self.console.print(shown, markup=False, highlight=False, soft_wrap=True)
        if self.is_confirmed:
            return True
        if not self.can_ask:
            raise SettingsError(
                "this changes the database, and there is no terminal to ask on",
                hint="add --yes, or --dry-run",
            )
        # The plan may have scrolled away by now.
        self._say(f"In {address(self.database)}:\n{report.work_to_do(assessment.plan)}")
        self.is_declined = not self._is_agreed()
        if self.is_declined:
            self._say("Nothing was changed.")
        return not self.is_declined

    def ask_step(self, step: Step, number: int, count: int) -> StepAnswer:
        """The answer to the question before one step, which is shown here."""
        self._end_display()
        shown = "\n" + step_as_text(step, number, count, self._width).rstrip("\n")
        self.console.print(shown, markup=False, highlight=False, soft_wrap=True)
        while True:
            try:
                answer = self.console.input(Text("[c]ontinue, [s]kip or [q]uit? "))
            except (EOFError, KeyboardInterrupt, Detach):
                # Nothing runs in the server now.
                self.console.print()
                return StepAnswer.STOP
            if answer.strip().lower() in _ANSWERS:
                return _ANSWERS[answer.strip().lower()]

    def on_event(self, event: Event) -> None:
        """Show an event; the display starts with the first: a question must not meet a live bar."""
        # Tables begin in parallel: two first events would start two displays.
        with self._lock:
            if not self._is_displayed:
                self.display.__enter__()
                self._is_displayed = True
        try:
            self.display(event)
        except OSError:
            # A display that cannot be written must not end the work that it shows.
            self.console.quiet = True

    def end(self) -> None:
        """End the display."""
        if self._end_display() and sys.stdout.isatty():
            # The report follows there.
            self.console.print()

    def conclude(self, outcome: Outcome) -> None:
        """Repeat at the end of a long report what it begins with, if that has scrolled away."""
        is_scrolled = report.as_text(outcome, text_width()).count("\n") >= self.console.height
        if sys.stdout.isatty() and is_scrolled and not self.is_declined:
            self._say(f"\n{' '.join(report.summary(outcome))} Exit code {report.exit_code(outcome)}.")

    @property
    def _width(self) -> int:
        return width_for(self.console.width) if self.console.is_terminal else WIDTH

    def _end_display(self) -> bool:
        """True when there was one."""
        with self._lock:
            was_displayed, self._is_displayed = self._is_displayed, False
            if was_displayed:
                self.display.__exit__()
            return was_displayed

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)

    def _is_agreed(self) -> bool:
        try:
            answer = self.console.input(Text("Go on? [y/N] "))
        except EOFError:
            self.console.print()
            return False
        except KeyboardInterrupt:
            self._say("\nNothing was changed.")
            raise
        return answer.strip().lower() in ("y", "yes")
