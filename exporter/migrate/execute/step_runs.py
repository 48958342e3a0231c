"""The registry of the step runs of one execution: their server processes, and how all are cancelled."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from exporter.migrate.execute.context import ExecutionContext
from exporter.migrate.execute.processes import StepProcess
from exporter.migrate.execute.step_run import StepRun, cancel_statement
from exporter.model import Step


@dataclass(slots=True)
class StepRuns:
    """The step runs of one execution, for worker threads, the watching thread and signals.

    One lock guards the state of all of them, so that a cancel sees every step at the same moment.
    """

    context: ExecutionContext
    _runs: dict[Step, StepRun] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def of(self, step: Step) -> StepRun:
        """Return the run of the step, which begins with the first call."""
        with self._lock:
            if step not in self._runs:
                self._runs[step] = StepRun(self.context, step, self._lock)
            return self._runs[step]

    def processes(self) -> dict[int, StepProcess]:
        """Return the server processes that work for the steps now, by pid."""
        with self._lock:
            return {pid: process for run in self._runs.values() for pid, process in run.processes()}

    def cancel_all(self) -> None:
        """Ask the server to cancel what runs now; the steps clean up in their own threads.

        Call it until the steps have ended: a cancel that arrives before its statement is lost. The thread
        that follows a process cancels that process, if it may; a process that may not be cancelled goes on.
        """
        with self._lock:
            runs = list(self._runs.values())
            newly_cancelled = [run for run in runs if run.mark_cancelled()]
            sessions = [session for run in runs if (session := run.own_session()) is not None]
        # Not before they are marked: their threads would end without cleaning up.
        self.context.stopping.set()
        for run in newly_cancelled:
            run.note("cancelling and cleaning up")
        for session in sessions:
            cancel_statement(session)
