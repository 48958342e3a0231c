"""What a person sees while steps run."""

import io
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from exporter.migrate.events import Estimate, Event, EventKind, WatchObservation
from exporter.migrate.plan.steps import analyze_step, build_step
from exporter.model import DeclaredIndex, RelationName, Step, StepResult, StepStatus
from exporter.postgres.builds.progress import BuildProgress
from exporter.terminal.bars import Bar, rows_of
from exporter.terminal.display import BuildDisplay
from exporter.terminal.words import subject
from tests.support import watched

TABLE = RelationName("public", "messages")
STEP = build_step(DeclaredIndex("idx_a", TABLE, ("sender_id",)))
LONG = build_step(DeclaredIndex("idx_user_feed_preferences_updated_at_desc", TABLE, ("sender_id",)))


@dataclass
class Clock:
    """A clock that the test moves."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


def shown(*events: Event | float, terminal: bool = False) -> str:
    """What the display wrote for the events, 80 columns wide; a number lets that many seconds pass."""
    written = io.StringIO()
    console = Console(file=written, width=80, force_terminal=terminal, color_system=None)
    clock = Clock()
    at = datetime(2026, 11, 22, 20, 15, 30, tzinfo=UTC)
    with BuildDisplay(console, monotonic=clock, now=lambda: at) as display:
        for event in events:
            if isinstance(event, float):
                clock.seconds += event
            else:
                display(event)
    return written.getvalue()


def bars(*observations: WatchObservation, step: Step = STEP) -> list[str]:
    """The lines of the live display after those looks, 80 columns wide."""
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    clock = Clock()
    display = BuildDisplay(console, monotonic=clock)
    with display:
        display(Event(EventKind.STARTED, step))
        clock.seconds += 3725
        for one in observations:
            display(Event(EventKind.PROGRESS, step, observation=one))
        with console.capture() as capture:
            console.print(display._bars())
    return [line.rstrip() for line in capture.get().splitlines() if line.strip()][: 1 + len(observations) * 4]


def started(step: Step = STEP) -> Event:
    return Event(EventKind.STARTED, step)


def progress(
    build: BuildProgress, estimate: Estimate | None = None, *, stalled_seconds: float = 0.0
) -> Event:
    return Event(
        EventKind.PROGRESS,
        STEP,
        observation=watched.observation(build, estimate, stalled_seconds=stalled_seconds),
    )


def finished(status: StepStatus = StepStatus.DONE, message: str | None = None) -> Event:
    return Event(EventKind.FINISHED, STEP, result=StepResult(STEP, status, 1.5, message=message))


def test_lines_tell_time_phase_share_and_pace_without_a_terminal() -> None:
    estimate = Estimate(0.18, 12_800.0, "blocks", 130.0)

    assert shown(started(), 2.0, progress(watched.SCANNING, estimate), finished()).splitlines() == [
        "2026-11-22 20:15:30Z  build   idx_a  started",
        "2026-11-22 20:15:30Z  build   idx_a   18%  scanning table, 100 MB/s, about 2 min left",
        "2026-11-22 20:15:30Z  build   idx_a  done (1.5 s)",
    ]


def test_a_line_comes_with_a_change_and_now_and_then() -> None:
    same = progress(watched.SCANNING)
    later = progress(replace(watched.SCANNING, phase="building index: sorting live tuples"))
    text = shown(
        started(), 2.0, same, 0.25, same, 30.0, same, 0.25, later, 50.0, later, 20.0, later, 1.0, later
    )

    assert [line.split("  ")[-1] for line in text.splitlines()] == [
        "started",
        "scanning table",
        "sorting",
        # A minute without a change.
        "sorting",
    ]


def test_phases_of_a_moment_make_no_flood() -> None:
    phases = ["initializing", "building index: scanning table", "index validation: scanning table"]
    looks = [progress(replace(watched.SCANNING, phase=phase)) for phase in phases]

    assert shown(started(), *looks, finished()).splitlines() == [
        "2026-11-22 20:15:30Z  build   idx_a  started",
        "2026-11-22 20:15:30Z  build   idx_a  done (1.5 s)",
    ]


def test_a_line_without_a_change_reminds_of_those_in_the_way() -> None:
    build = replace(watched.WAITING, waiters=(watched.ALTERING,))
    soon, late = progress(build, stalled_seconds=2), progress(build, stalled_seconds=62)
    first, reminder = shown(started(), 2.0, soon, 60.0, late).splitlines()[1:]

    assert first == "2026-11-22 20:15:30Z  build   idx_a    0%  waits for writers"
    assert reminder == (
        f"{first}, for 1 min 2 s: pid 99, checkout, open for 12 min 30 s, idle in transaction, "
        "UPDATE messages SET content = ? WHERE id = ?, pid 100 waits for it, 5 s: readers are blocked too"
    )


def test_a_step_that_does_not_count_has_no_share() -> None:
    assert bars(step=analyze_step(TABLE)) == ["analyze public.messages             ╌╌╌╌╌╌╌╌╌╌ 1:02:05"]


def test_a_bar_tells_pace_and_estimate() -> None:
    assert bars(watched.observation(estimate=Estimate(0.43, 12_800.0, "blocks", 130.0))) == [
        "build   idx_a                       ━━━━╌╌╌╌╌╌ 1:02:05  43% scanning table",
        "        100 MB/s, about 2 min left",
    ]


def test_a_bar_without_evidence_promises_nothing() -> None:
    assert bars(watched.observation()) == [
        "build   idx_a                       ━╌╌╌╌╌╌╌╌╌ 1:02:05  18% scanning table"
    ]


def test_whom_a_build_waits_for_stands_under_its_bar_within_80_columns() -> None:
    build = replace(watched.WAITING, waiters=(watched.ALTERING, replace(watched.ALTERING, pid=101)))
    lines = bars(watched.observation(build, stalled_seconds=75), step=LONG)

    assert lines == [
        "build   idx_user_feed_preferences_… ╌╌╌╌╌╌╌╌╌╌ 1:02:05   0% waits for writers",
        "        waits 1 min 15 s for pid 99, checkout, open for 12 min 30 s, idle in t…",
        "        and then for 2 more",
        "        2 sessions wait for it, 5 s: readers are blocked too",
    ]
    assert max(map(len, lines)) < 80


def test_a_build_beside_it_is_named_as_one_of_ours() -> None:
    sibling = replace(watched.SESSION, application_name="pg-index-exporter/0badcafe/idx_b")
    build = replace(watched.WAITING, phase="waiting for old snapshots", blockers=(sibling,))

    assert bars(watched.observation(build)) == [
        "build   idx_a                       ━━━━━━━━━╌ 1:02:05  99% waits for idx_b"
    ]


def test_looks_after_the_end_are_ignored_on_a_terminal() -> None:
    text = shown(started(), finished(), progress(watched.SCANNING), terminal=True)

    assert "done (1.5 s)" in text
    assert "scanning" not in text


def test_a_note_is_told_on_both() -> None:
    note = Event(EventKind.NOTE, STEP, text="attempt 1 failed")

    assert "build   idx_a  attempt 1 failed" in shown(started(), note, terminal=True)
    assert "2026-11-22 20:15:30Z  build   idx_a  attempt 1 failed" in shown(started(), note)


def test_whom_a_build_waits_for_is_a_line_of_a_log_and_a_row_of_a_terminal() -> None:
    wait = Event(EventKind.WAIT, STEP, text="waits for pid 99, user app")

    assert "2026-11-22 20:15:30Z  build   idx_a  waits for pid 99, user app" in shown(started(), wait)
    assert "pid 99" not in shown(started(), wait, terminal=True)


def test_a_wait_that_has_just_begun_has_no_length() -> None:
    assert bars(watched.observation(watched.WAITING))[1].startswith("        waits for pid 99, checkout")


def test_lines_on_a_terminal_are_broken_between_words_and_set_off() -> None:
    long = Event(EventKind.NOTE, STEP, text="begins " + "and waits for somebody else " * 4)
    text = re.sub(r"\x1b\[2K", "", shown(started(), long, terminal=True)).replace("\r", "\n")
    lines = [line for line in text.splitlines() if "somebody" in line]

    assert "build   idx_a  begins and waits for" in lines[0]
    assert lines[1].startswith("        ")
    assert lines[1].strip()[:1].isalpha()


def test_bars_stay_aligned_whatever_width_the_characters_of_a_name_have() -> None:
    wide = build_step(DeclaredIndex("索引" * 10 + "索", TABLE, ("sender_id",)))
    (row,) = rows_of([Bar(wide, 75.0, 0.18, watched.observation())], 80, 24)

    assert row.plain.startswith("build   索引索引索引索引索引索引索… ━╌╌")
    assert row.cell_len == len("build   idx_a                       ━╌╌╌╌╌╌╌╌╌ 0:01:15  18% scanning table")


def drawn(count: int, *, width: int = 80, height: int = 24, held_up: int | None = None) -> list[str]:
    """The rows of so many builds at once, of which one is held up."""
    steps = [build_step(DeclaredIndex(f"idx_{number}", TABLE, ("sender_id",))) for number in range(count)]
    going = watched.observation(estimate=Estimate(0.43, 12_800.0, "blocks", 130.0))
    held = watched.observation(watched.WAITING, stalled_seconds=5)
    bars_drawn = [Bar(step, 75.0, 0.43, held if at == held_up else going) for at, step in enumerate(steps)]
    return [row.plain.rstrip() for row in rows_of(bars_drawn, width, height)]


def test_on_a_narrow_terminal_names_give_way_to_the_phase() -> None:
    row, _ = drawn(1, width=60)

    assert row == "build   idx_0        ━━━━╌╌╌╌╌╌ 0:01:15  43% scanning table"
    assert all(len(row) < 60 for row in drawn(3, width=60, held_up=1))
    assert all(len(row) < 30 for row in drawn(3, width=30, held_up=1))


def test_on_a_low_terminal_the_pace_goes_first_and_then_what_nothing_holds_up() -> None:
    assert len(drawn(8, height=22)) == 16
    assert [row[:13] for row in drawn(8, height=10)] == [f"build   idx_{number}" for number in range(8)]

    rows = drawn(30, height=10, held_up=29)

    assert len(rows) == 10
    assert rows[0].startswith("build   idx_29 ")
    assert "pid 99" in rows[1]
    assert rows[-1].strip() == "and 23 more running"


def test_how_many_steps_are_done_is_told_on_both() -> None:
    other = build_step(DeclaredIndex("idx_b", TABLE, ("id",)))
    log, screen = io.StringIO(), io.StringIO()
    for written, is_terminal in ((log, False), (screen, True)):
        console = Console(file=written, width=80, height=24, force_terminal=is_terminal, color_system=None)
        with BuildDisplay(console, step_count=8) as display:
            for event in (started(), started(other), finished()):
                display(event)
            if is_terminal:
                console.print(display._bars())

    assert log.getvalue().endswith("build   idx_a  done (1.5 s), 1 of 8 steps\n")
    assert "1 of 8 steps done. Ctrl-C cancels and cleans up." in screen.getvalue()


def test_a_table_that_waits_for_the_disk_is_told_on_both() -> None:
    other = build_step(DeclaredIndex("idx_b", TABLE, ("id",)))
    waits = Event(EventKind.WAIT_FOR_DISK, other, text="waits for disk: /data: needs up to 12 GB")
    goes_on = Event(EventKind.WAIT_FOR_DISK, other)
    footers = []
    for events in ((started(), waits), (started(), waits, goes_on)):
        console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
        with BuildDisplay(console, step_count=8) as display:
            for event in events:
                display(event)
            footers.append(display._footer([STEP.kind])[0].plain)

    assert footers == [
        "0 of 8 steps done, 1 table waits for disk. Ctrl-C cancels and cleans up.",
        "0 of 8 steps done. Ctrl-C cancels and cleans up.",
    ]
    (line,) = shown(waits, goes_on).splitlines()
    assert line == "2026-11-22 20:15:30Z  build   idx_b  waits for disk: /data: needs up to 12 GB"


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")

    text = shown(started(), 2.0, progress(watched.SCANNING), finished(), terminal=True)

    assert [line.split("  ", 1)[0] for line in text.splitlines()] == ["2026-11-22 20:15:30Z"] * 3
    assert "\x1b" not in text


def test_what_is_done_before_the_steps_is_told() -> None:
    written = io.StringIO()
    at = datetime(2026, 11, 22, 20, 15, 30, tzinfo=UTC)
    BuildDisplay(Console(file=written, width=80), now=lambda: at).stage("measuring 2 probes")

    assert written.getvalue() == "2026-11-22 20:15:30Z  measuring 2 probes\n"


def test_a_failed_step_tells_why() -> None:
    text = shown(started(), finished(StepStatus.FAILED, "disk full"), terminal=True)

    assert "failed: disk full" in text


def test_odd_names_stay_on_one_line_and_are_no_markup() -> None:
    odd = build_step(DeclaredIndex("[red]a\nb\x1b[2J", TABLE, ("sender_id",)))

    assert subject(odd) == "[red]a\\nb\\u001b[2J"
    assert shown(started(odd)) == "2026-11-22 20:15:30Z  build   [red]a\\nb\\u001b[2J  started\n"
    assert bars(step=odd)[0].startswith("build   [red]a\\nb\\u001b[2J ")


def test_analyze_is_told_by_its_table() -> None:
    assert subject(analyze_step(TABLE)) == "public.messages"
