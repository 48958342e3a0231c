"""What a person sees while steps run."""

import io
from dataclasses import replace

from rich.console import Console

from exporter.migrate.build import Event, EventKind
from exporter.migrate.plan import analyze_step, build_step
from exporter.model import DeclaredIndex, RelationName, StepResult, StepStatus
from exporter.postgres.progress import BuildProgress
from exporter.terminal import BuildDisplay, subject

TABLE = RelationName("public", "messages")
STEP = build_step(DeclaredIndex("idx_a", TABLE, ("sender_id",)))
PROGRESS = BuildProgress(
    pid=7,
    relid=1,
    index_relid=2,
    application_name="pg-index-exporter/x/idx_a",
    usename="builder",
    command="CREATE INDEX CONCURRENTLY",
    phase="building index: scanning table",
    lockers_total=0,
    lockers_done=0,
    current_locker_pid=None,
    blocks_total=100,
    blocks_done=50,
    tuples_total=0,
    tuples_done=0,
    locker_application_name=None,
    locker_usename=None,
    locker_state=None,
    locker_transaction_age_seconds=None,
)
WAITING = replace(
    PROGRESS,
    phase="waiting for writers before build",
    blocks_total=0,
    blocks_done=0,
    current_locker_pid=99,
    locker_usename="app",
    locker_state="idle in transaction",
    locker_transaction_age_seconds=12.0,
)


def shown(*events: Event, terminal: bool) -> str:
    """What the display wrote for the events, 80 columns wide."""
    written = io.StringIO()
    console = Console(file=written, width=80, force_terminal=terminal, color_system=None)
    with BuildDisplay(console) as display:
        for event in events:
            display(event)
    return written.getvalue()


def finished(status: StepStatus = StepStatus.DONE, message: str | None = None) -> Event:
    return Event(EventKind.FINISHED, STEP, result=StepResult(STEP, status, 1.5, message=message))


def test_lines_tell_phase_and_share_without_a_terminal() -> None:
    text = shown(
        Event(EventKind.STARTED, STEP),
        Event(EventKind.PROGRESS, STEP, progress=PROGRESS),
        Event(EventKind.PROGRESS, STEP, progress=PROGRESS),
        finished(),
        terminal=False,
    )

    assert text.splitlines() == [
        "build   idx_a  started",
        "build   idx_a   22%  scanning table",
        "build   idx_a  done (1.5 s)",
    ]


def test_a_blocker_is_named_once() -> None:
    events = [Event(EventKind.PROGRESS, STEP, progress=WAITING)] * 3
    text = shown(Event(EventKind.STARTED, STEP), *events, terminal=False)

    assert text.count("waits for pid 99, user app, idle in transaction") == 1


def test_progress_after_the_end_is_ignored_on_a_terminal() -> None:
    text = shown(
        Event(EventKind.STARTED, STEP),
        finished(),
        Event(EventKind.PROGRESS, STEP, progress=PROGRESS),
        terminal=True,
    )

    assert "done (1.5 s)" in text
    assert "scanning" not in text


def test_a_failed_step_tells_why() -> None:
    text = shown(Event(EventKind.STARTED, STEP), finished(StepStatus.FAILED, "disk full"), terminal=True)

    assert "failed: disk full" in text


def test_odd_names_stay_on_one_line_and_are_no_markup() -> None:
    odd = build_step(DeclaredIndex("[red]a\nb\x1b[2J", TABLE, ("sender_id",)))
    text = shown(Event(EventKind.STARTED, odd), terminal=False)

    assert subject(odd) == "[red]a?b?[2J"
    assert text == "build   [red]a?b?[2J  started\n"


def test_analyze_is_told_by_its_table() -> None:
    assert subject(analyze_step(TABLE)) == "public.messages"
