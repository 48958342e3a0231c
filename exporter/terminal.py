"""What a person sees while steps run: bars on a terminal, one line per change elsewhere.

Everything here goes to standard error, so that standard output holds results only.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from exporter.migrate.build import Event, EventKind
from exporter.model import Step, StepKind, StepStatus
from exporter.postgres.progress import BuildProgress
from exporter.postgres.target import APPLICATION_NAME

_LINE_EVERY_SHARE = 0.1


def subject(step: Step) -> str:
    """What a step works on, on one line whatever the name holds."""
    name = step.index.name if step.index is not None else step.table.quoted
    return "".join(character if character.isprintable() else "?" for character in name)


@dataclass(slots=True)
class BuildDisplay:
    """Shows the events of a build; a context manager, to be called with each event from any thread."""

    console: Console
    _bars: Progress | None = None
    _tasks: dict[Step, TaskID] = field(default_factory=dict)
    _told: dict[Step, tuple[str, float]] = field(default_factory=dict)
    _blockers: dict[Step, int] = field(default_factory=dict)
    _finished: set[Step] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> BuildDisplay:
        if self.console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=10),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[phase]}", style="dim"),
                console=self.console,
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event.kind:
                case EventKind.STARTED:
                    self._start(event.step)
                case EventKind.PROGRESS if event.progress is not None:
                    self._advance(event.step, event.progress)
                case EventKind.NOTE:
                    self._say(event.step, event.text)
                case EventKind.FINISHED if event.result is not None:
                    self._finish(event)
                case _:
                    raise ValueError(f"an event of kind {event.kind} lacks its part")

    def _start(self, step: Step) -> None:
        if self._bars is None:
            self._say(step, "started")
        else:
            name = subject(step)
            shown = name if len(name) <= 28 else name[:27] + "…"
            self._tasks[step] = self._bars.add_task(
                f"{_VERBS[step.kind]} {escape(shown)}", total=1.0, phase=""
            )

    def _advance(self, step: Step, progress: BuildProgress) -> None:
        # The last look at a build can arrive after its end.
        if step in self._finished:
            return
        self._tell_blocker(step, progress)
        phase = _SHORT_PHASES.get(progress.phase, progress.phase)
        told_phase, told_share = self._told.get(step, ("", -1.0))
        if self._bars is not None:
            # A phase that starts its count anew must not move the bar backwards.
            share = max(progress.share, told_share)
            self._told[step] = (phase, share)
            self._bars.update(self._tasks[step], completed=share, phase=escape(phase))
        elif phase != told_phase or progress.share >= told_share + _LINE_EVERY_SHARE:
            self._told[step] = (phase, progress.share)
            self._say(step, f"{progress.share:4.0%}  {phase}")

    def _tell_blocker(self, step: Step, progress: BuildProgress) -> None:
        """Names each session that a build waits for, once; a wait of a moment is not worth a line.

        Neither is one for a build beside it: that ends by itself, and its own bar tells when.
        """
        pid = progress.current_locker_pid
        if (progress.locker_application_name or "").startswith(f"{APPLICATION_NAME}/"):
            return
        if pid and (progress.locker_transaction_age_seconds or 0) >= 1 and self._blockers.get(step) != pid:
            self._blockers[step] = pid
            self._say(step, f"waits for {progress.waits_for}")

    def _finish(self, event: Event) -> None:
        result = event.result
        if result is None:
            return
        self._finished.add(event.step)
        task = self._tasks.pop(event.step, None)
        if self._bars is not None and task is not None:
            self._bars.remove_task(task)
        done = result.status is StepStatus.DONE
        words = "done" if done else f"{result.status.value.replace('_', ' ')}: {result.message}"
        self._say(event.step, f"{words} ({result.seconds:.1f} s)")

    def _say(self, step: Step, text: str) -> None:
        console = self._bars.console if self._bars is not None else self.console
        console.print(
            f"{_VERBS[step.kind]:<7} {subject(step)}  {text}", markup=False, highlight=False, soft_wrap=True
        )


# What fits beside a bar on 80 columns.
_SHORT_PHASES = {
    "initializing": "starting",
    "waiting for writers before build": "waits for writers",
    "building index": "building",
    "building index: initializing": "building",
    "building index: scanning table": "scanning table",
    "building index: sorting live tuples": "sorting",
    "building index: sorting dead tuples": "sorting",
    "building index: loading tuples in tree": "loading",
    "waiting for writers before validation": "waits for writers",
    "index validation: scanning index": "validating",
    "index validation: sorting tuples": "validating",
    "index validation: scanning table": "validating",
    "waiting for old snapshots": "waits for snapshots",
    "waiting for readers before marking dead": "waits for readers",
    "waiting for readers before dropping": "waits for readers",
}
_VERBS = {
    StepKind.BUILD: "build",
    StepKind.ADOPT: "follow",
    StepKind.DROP_INVALID: "clean",
    StepKind.DROP: "drop",
    StepKind.ANALYZE: "analyze",
    StepKind.CREATE_PARENT: "create",
    StepKind.ATTACH: "attach",
    StepKind.DROP_PARENT: "drop",
}
