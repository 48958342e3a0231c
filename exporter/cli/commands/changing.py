"""What init and rollback share: one database after the other, in front of a person, ended by signals."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from exporter.cli.choice import Chosen, chosen
from exporter.cli.console import MessageConsole
from exporter.cli.documents import outcome_document
from exporter.cli.output import Output
from exporter.cli.screen import RunOnScreen
from exporter.errors import ExporterError, SettingsError
from exporter.migrate import report
from exporter.migrate.events import Detach
from exporter.model import Outcome
from exporter.postgres.target import address
from exporter.settings.model import Settings

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def change_each(
    arguments: argparse.Namespace,
    settings: Settings,
    output: Output,
    change: Callable[[Chosen, RunOnScreen], Outcome],
) -> int:
    """The highest exit code of all chosen databases; an error ends the command.

    Raises: ExporterError, with exit code 2 only while nothing was changed.
    """
    console = MessageConsole()
    exit_code = 0
    is_changed = False
    with _ended_by_signals(cancel=settings.cancel_on_term):
        for one in chosen(arguments, settings):
            run = RunOnScreen(console, one.database, is_confirmed=arguments.yes)
            run.display.stage(f"looking at {address(one.database)}")
            try:
                outcome = change(one, run)
            except SettingsError as error:
                if is_changed:
                    raise _after_a_change(error) from error
                raise
            finally:
                run.end()
            is_changed = is_changed or bool(outcome.results)
            # After a no the plan is on the screen already.
            output.write(outcome_document(outcome), is_printed=not run.is_declined or output.format != "text")
            run.conclude(outcome)
            exit_code = max(exit_code, report.exit_code(outcome))
    return exit_code


def _after_a_change(error: SettingsError) -> ExporterError:
    """The same error of a later database, with the exit code of a failure: another one was changed."""
    faults = "; ".join(map(str, error.faults))
    return ExporterError(f"{error.what}{': ' if faults else ''}{faults}", hint=error.hint)


@contextmanager
def _ended_by_signals(*, cancel: bool) -> Iterator[None]:
    """SIGTERM, and the end of the terminal, leave the server to its work; or cancel it, as Ctrl-C does."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt if cancel else Detach

    # Under nohup the end of the terminal must change nothing.
    ends = [one for one in _ENDING_SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
    previous = {one: signal.signal(one, end) for one in ends}
    try:
        yield
    except Detach:
        raise ExporterError("ended by a signal; nothing was running in the server") from None
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)
