"""The worker threads of a run: each takes a table from the schedule and executes its steps in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from exporter.migrate.events import Event, EventKind
from exporter.migrate.execute.schedule import Schedule, TableSteps, reason_to_skip
from exporter.migrate.execute.step_runs import StepRuns
from exporter.migrate.execute.steps.run import drop_leftovers_again, is_shared_failure, run_step
from exporter.migrate.execute.watch.watcher import Watcher
from exporter.model import OnFailure, Step, StepKind, StepResult, StepStatus

_CANCELLED = "57014"


@dataclass(slots=True)
class Workers:
    """The workers of one run and the results of its steps, shared with the main thread."""

    step_runs: StepRuns
    watcher: Watcher
    on_failure: OnFailure
    on_event: Callable[[Event], None]
    results: dict[Step, StepResult] = field(default_factory=dict)
    # What was raised in a worker, for the main thread.
    errors: list[BaseException] = field(default_factory=list)
    # No further step is started; those that run go on to their end.
    no_new_steps: threading.Event = field(default_factory=threading.Event)
    # What runs is cancelled, and cleaned up in its own thread.
    cancelling: threading.Event = field(default_factory=threading.Event)
    is_interrupted: bool = False
    _skip_reasons: dict[Step, str] = field(default_factory=dict)
    # The first steps of the tables that had to wait for disk space.
    _waited_for_disk: set[Step] = field(default_factory=set)

    def start(self, schedule: Schedule, count: int) -> list[threading.Event]:
        """Start that many threads, and return the events that they set at their ends."""
        # Not Thread.join: before Python 3.13 one that Ctrl-C interrupts takes the thread for ended.
        ends = [threading.Event() for _ in range(count)]
        for end in ends:
            # Daemons, so that a detached run can exit while the server works on.
            threading.Thread(target=self._work, args=(schedule, end), daemon=True).start()
        return ends

    def interrupt(self) -> None:
        """Start no further step, as the run was interrupted."""
        self.is_interrupted = True
        self.no_new_steps.set()

    def report_disk_wait(self, steps: TableSteps, obstacle: str) -> None:
        """Report that the table waits for disk space, and why."""
        self._waited_for_disk.add(steps[0])
        self.on_event(Event(EventKind.WAIT_FOR_DISK, steps[0], text=f"waits for disk: {obstacle}"))

    def result(self, step: Step) -> StepResult:
        """Return the result of the step; of one that was not started, with the reason."""
        reason = "the run was stopped" if self.is_interrupted else "another step failed"
        reason = self._skip_reasons.get(step, reason)
        skipped = StepResult(step, StepStatus.SKIPPED, 0.0, message=f"not started because {reason}")
        return self.results.get(step, skipped)

    def _work(self, schedule: Schedule, end: threading.Event) -> None:
        try:
            while (steps := schedule.take()) is not None:
                if steps[0] in self._waited_for_disk:
                    self.on_event(Event(EventKind.WAIT_FOR_DISK, steps[0]))
                try:
                    self._run_table(steps)
                finally:
                    schedule.release(steps)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self.errors.append(error)
            self.no_new_steps.set()
        finally:
            end.set()

    def _run_table(self, steps: TableSteps) -> None:
        statuses: dict[Step, StepStatus] = {}
        for step in steps:
            reason = reason_to_skip(
                step, statuses, no_new_steps=self.no_new_steps.is_set(), is_interrupted=self.is_interrupted
            )
            if reason is not None:
                self._skip_reasons[step] = reason
                continue
            self.on_event(Event(EventKind.STARTED, step))
            result = self._run_step(step)
            self.results[step] = result
            statuses[step] = result.status
            # A leftover that stays blocks no other step.
            if result.status is not StepStatus.DONE and step.kind is not StepKind.DROP_LEFTOVER:
                self._handle_failure(result)
            self.on_event(Event(EventKind.FINISHED, step, result=result))
        self._drop_leftovers(steps, statuses)

    def _run_step(self, step: Step) -> StepResult:
        result = run_step(self.step_runs.of(step))
        result = replace(result, phases=self.watcher.phase_times(step), waits=self.watcher.waits(step))
        if self.is_interrupted and result.sqlstate == _CANCELLED:
            # The user who pressed Ctrl-C needs no hint at who cancelled it.
            return replace(result, hint="run the same command again: finished steps are skipped")
        return result

    def _handle_failure(self, result: StepResult) -> None:
        """Stop or cancel the steps of other tables, as the failure demands."""
        if self.on_failure is not OnFailure.CONTINUE or is_shared_failure(result):
            self.no_new_steps.set()
        if self.on_failure is OnFailure.CANCEL_ALL:
            self.cancelling.set()

    def _drop_leftovers(self, steps: TableSteps, statuses: Mapping[Step, StepStatus]) -> None:
        """Drop what the table's steps could not drop, if a build has waited for all that held the table."""
        is_built = any(
            status is StepStatus.DONE and step.kind in (StepKind.BUILD, StepKind.ADOPT)
            for step, status in statuses.items()
        )
        for step in steps:
            if step in self.results:
                may_retry = is_built and not self.is_interrupted
                self.results[step] = drop_leftovers_again(
                    self.step_runs.of(step), self.results[step], may_retry=may_retry
                )
